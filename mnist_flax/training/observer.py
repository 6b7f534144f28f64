"""What is measured of a group of runs while they train, beside the epochs' ends."""

import contextlib
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax

from mnist_flax.training import devices, evaluators
from mnist_flax.training.epoch_end import learning_rates, note_epoch
from mnist_flax.training.evaluators import Evaluator, Measured
from mnist_flax.training.groups import Group
from mnist_flax.training.metrics import Row, Totals
from mnist_flax.training.plan import Plan
from mnist_flax.training.records import Records
from mnist_flax.training.run import TrainState
from mnist_flax.training.snapshots import Snapshot


class Observer:
    """Context manager that calls evaluators, and records numbers in a workdir if any."""

    def __init__(
        self,
        plan: Plan,
        group: Group,
        snapshot: Snapshot,
        named: Sequence[Evaluator],
        workdir: pathlib.Path | None,
        num_runs: int,
        profile: int = 0,
    ):
        self._plan = plan
        self._group = group
        self._snapshot = snapshot
        self._evaluators = named
        self._records: Records | None = None
        if workdir is not None and jax.process_index() == 0:
            runs = [plan.runs[position] for position in group.runs]
            self._records = Records(workdir, runs, num_runs, plan.settings.writers)
        self._every = plan.settings.log_every_steps
        self._workdir = workdir
        self._profile = profile  # the epoch to profile, from 1; 0 for none
        self._trace = contextlib.ExitStack()
        self._end_of_trace = 0  # the step after which it ends
        self.seconds = 0.0  # of this object's own work within epochs
        self._training = 0.0  # seconds of training since the last line
        self._clock = 0.0
        self._counted = 0.0  # examples of the epoch before that time

    def __enter__(self) -> 'Observer':
        if self._records:
            self._records.start(self._snapshot.step)
        self._counted = float(devices.fetch(self._snapshot.totals.examples)[0])
        return self

    def __exit__(self, *exception: Any) -> None:
        self._trace.close()
        if self._records:
            self._records.close()

    def start_epoch(self) -> list[int]:
        """Returns the steps of the epoch after which `after_steps` has to be called."""
        self._clock = time.perf_counter()
        length = self._plan.steps_per_epoch
        first = self._snapshot.step // length * length
        stops = {*range(self._every, length, self._every)} if self._every else set()
        for every in {of.every_steps for of in self._evaluators} - {0}:
            stops |= {*range(every - first % every, length, every)}
        if first // length + 1 == self._profile and self._workdir is not None:
            self._start_trace(first + length)
            stops.add(self._end_of_trace - first)
        return sorted(stops)

    def _start_trace(self, end_of_epoch: int) -> None:
        from mnist_flax.profiling import profile  # which others need not wait for

        # All hosts have the same steps, and one of them a profile.
        self._end_of_trace = min(self._snapshot.step + profile.NUM_STEPS, end_of_epoch)
        if self._records is None or self._workdir is None:
            return
        folder = self._workdir / 'profile'
        self._trace.callback(
            lambda: print(
                f'profile in {folder}:\n'
                + profile.to_text(profile.dearest_operations(folder)),
                flush=True,
            )
        )
        self._trace.enter_context(profile.trace(folder))

    def sync(self) -> None:
        """Waits until what was recorded is on the disk, before a checkpoint follows."""
        if self._records:
            self._records.sync()

    def after_steps(self, step: int, state: TrainState, totals: Totals) -> None:
        """Measures and records what is due after a step within an epoch."""
        start = time.perf_counter()
        self._training += start - self._clock
        if step >= self._end_of_trace:
            self._trace.close()
        step_of_epoch = step % self._plan.steps_per_epoch
        if step_of_epoch:  # what is due after its last one `after_epoch` does
            due = [of for of in self._evaluators if of.every_steps]
            due = [of for of in due if step % of.every_steps == 0]
            is_logged = bool(self._every) and step_of_epoch % self._every == 0
            if due or is_logged:
                measured = self._measure(due, state, step)
                rows = self._read(step, totals) if is_logged else [{}] * len(measured)
                self._write('step', step, rows, measured)
        self._clock = time.perf_counter()
        self.seconds += self._clock - start

    def after_epoch(self) -> None:
        """Validates the runs, and measures and records what is due."""
        snapshot, plan = self._snapshot, self._plan
        epoch = snapshot.step // plan.steps_per_epoch
        if self._every and plan.steps_per_epoch % self._every == 0:
            rows = self._read(snapshot.step, snapshot.totals)
            self._write('step', snapshot.step, rows, [Measured({}, {})] * len(rows))
        is_last = snapshot.step == plan.num_steps
        due = [of for of in self._evaluators if of.is_due(snapshot.step, epoch, is_last)]
        measured = note_epoch(plan, self._group, snapshot, due)
        rates = learning_rates(plan, self._group, snapshot.step - 1)
        rows = [
            {**history[-1], 'learning_rate': rate}
            for history, rate in zip(snapshot.histories, rates, strict=True)
        ]
        self._write('epoch', snapshot.step, rows, measured)
        snapshot.logged = [{} for _ in self._group.runs]
        self._training = self._counted = 0.0

    def _measure(
        self, due: Sequence[Evaluator], state: TrainState, step: int
    ) -> list[Measured]:
        return evaluators.measure(due, self._plan, self._group, state, step)

    def _read(self, step: int, totals: Totals) -> list[Row]:
        """Returns the numbers of each run since they were last logged."""
        rates = learning_rates(self._plan, self._group, step - 1)
        rows = []
        for since, new, rate in zip(
            self._snapshot.logged, _to_sums(totals), rates, strict=False
        ):
            row = {name: of - since.get(name, 0.0) for name, of in new.items()}
            num_examples = row.pop('examples')
            num_timed = new['examples'] - self._counted
            logged = {name: row.pop(name) for name in self._plan.recipe.logged_names}
            row = {name: of / num_examples for name, of in row.items()}
            row |= logged
            row['learning_rate'] = rate
            row['images_per_second'] = num_timed / max(self._training, 1e-9)
            rows.append(row)
            since.update(new)
        self._training, self._counted = 0.0, new['examples']
        return rows

    def _write(
        self, event: str, step: int, rows: Sequence[Row], measured: Sequence[Measured]
    ) -> None:
        if self._records:
            epoch = -(-step // self._plan.steps_per_epoch)
            self._records.write(event, step, epoch, rows, measured)


def _to_sums(totals: Totals) -> list[dict[str, float]]:
    host = devices.fetch(totals)
    sums = {'train_loss': host.loss, 'train_accuracy': host.correct}
    sums |= {f'train_{name}': of for name, of in host.others.items()}
    sums |= {'examples': host.examples, **host.logged}
    return [
        {name: float(of[i]) for name, of in sums.items()} for i in range(len(host.examples))
    ]
