"""The runs of a plan, trained in groups of as many as the devices hold."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mnist_flax.training import devices, population, run
from mnist_flax.common.errors import require
from mnist_flax.common.interrupts import Pending, put_off
from mnist_flax.training.metrics import EpochMetrics, Totals
from mnist_flax.training.progress import Progress
from mnist_flax.training.results import Divergence, RunResult
from mnist_flax.training.plan import Plan
from mnist_flax.training.snapshots import Snapshot, Store


class Trainer:
    """Trains the runs of a plan, as many side by side as the devices hold.

    With a store, training goes on from what is there, and is saved there.
    """

    def __init__(self, plan: Plan, store: Store | None = None, show: bool = True):
        self.compile_seconds = 0.0
        self.train_seconds = 0.0
        self.restored_seconds = 0.0  # those that an earlier process had trained for
        self._arrays: Any = None  # the data on the devices, once compiled
        self._plan = plan
        self._store = store
        self._show = show
        self._mesh = plan.mesh
        self._at_once = population.num_at_once(
            plan.mesh, len(plan.runs), plan.settings.runs_at_once
        )
        self._steps_per_epoch = run.steps_per_epoch(
            len(plan.dataset.train.labels), plan.settings.batch_size
        )
        self._num_steps = plan.settings.num_epochs * self._steps_per_epoch

    def train(self) -> Iterator[list[RunResult]]:
        """Yields the results of runs that were trained side by side, group by group.

        Raises:
          Interrupted: Ctrl-C or SIGTERM came, and the runs are saved.
          UserError: Something cannot be saved, or what was saved cannot be gone on with.
        """
        if self._arrays is None:
            self.compile()
        groups = self._groups()
        progress = Progress(
            num_runs=len(self._plan.runs),
            num_groups=len(groups),
            num_epochs=self._plan.settings.num_epochs,
            steps_per_epoch=self._steps_per_epoch,
            shown=self._show,
        )
        with progress:
            for group in groups:
                progress.begin([self._plan.runs[i].seed for i in group])
                # Not round the yield, where it would hold for the caller too.
                with self._precision():
                    results = self._train_group(self._place(group), progress)
                yield results

    def compile(self) -> None:
        """Loads the data and compiles, for fewer runs at once if all do not fit.

        Raises:
          UserError: As many runs at once as the config wants do not fit, or not even one.
        """
        settings = self._plan.settings
        start = time.perf_counter()
        while True:
            self._arrays = devices.replicate(self._mesh, self._host_arrays())
            first = self._divide(0, len(self._plan.runs))[0]
            needed = self._compile(self._place(first))
            limit = devices.memory(self._mesh)
            if needed <= limit:
                break
            sizes = f'{needed / 2**30:.1f} GiB on each device; allowed: what '
            sizes += f'{limit / 2**30:.1f} GiB hold'
            require(
                self._at_once > 1,
                f'config.batch_size: found {settings.batch_size}, which with this '
                f'config.model needs {sizes}',
            )
            require(
                settings.runs_at_once == 0,
                f'config.runs_at_once: found {self._at_once}, which need {sizes}, or 0 to '
                'find it',
            )
            half = math.ceil(self._at_once / 2)
            self._mesh = devices.make_mesh(
                settings.num_devices, settings.batch_size, num_runs=half
            )
            self._at_once = population.num_at_once(self._mesh, half, half)
        self.compile_seconds = time.perf_counter() - start
        if self._show and jax.process_index() == 0:
            print(f'compiled in {self.compile_seconds:.1f} s', flush=True)

    def _compile(self, group: '_Group') -> int:
        """Compiles what a group needs; returns the bytes that it takes on each device."""
        mesh, recipe = group.mesh, self._plan.recipe
        images, labels, *_, test_images = group.arrays
        with self._precision():
            state = self._init(group)
            return max(
                population.compile_epoch(
                    mesh, recipe, state, images, labels, self._plan.settings.batch_size
                ),
                population.compile_predictions(mesh, recipe, state, test_images),
            )

    def _precision(self):
        return jax.default_matmul_precision(self._plan.settings.matmul_precision)

    def _groups(self) -> list[range]:
        """Divides the runs; what has begun together goes on together."""
        groups, end = [], 0
        for begun in self._store.begun() if self._store else []:
            groups += [*self._divide(end, begun.start), begun]
            end = begun.stop
        return groups + self._divide(end, len(self._plan.runs))

    def _divide(self, first: int, end: int) -> list[range]:
        return [
            range(start, min(start + self._at_once, end))
            for start in range(first, end, self._at_once)
        ]

    def _place(self, runs: range) -> '_Group':
        if runs in self._divide(0, len(self._plan.runs)):
            return _Group(runs, self._mesh, self._at_once, self._arrays)
        # It was begun on other devices, of which there were more or fewer.
        settings, size = self._plan.settings, len(runs)
        mesh = devices.make_mesh(settings.num_devices, settings.batch_size, num_runs=size)
        arrays = devices.replicate(mesh, self._host_arrays())
        group = _Group(runs, mesh, population.num_at_once(mesh, size, size), arrays)
        needed, limit = self._compile(group), devices.memory(mesh)
        require(
            needed <= limit,
            f'--workdir: found {size} runs that were begun side by side, which need '
            f'{needed / 2**30:.1f} GiB on each device; allowed: what {limit / 2**30:.1f} '
            'GiB hold, as where they were begun',
        )
        return group

    def _host_arrays(self):
        dataset = self._plan.dataset
        return (*dataset.train, *dataset.validation, dataset.test.images)

    def _init(self, group: '_Group') -> run.TrainState:
        # Filled up to the common shape with runs whose results are dropped.
        filled = [
            self._plan.runs[group.runs[i % len(group.runs)]] for i in range(group.at_once)
        ]
        hyperparameters = {
            name: [planned.hyperparameters[name] for planned in filled]
            for name in filled[0].hyperparameters
        }
        seeds = [planned.seed for planned in filled]
        return population.init(group.mesh, self._plan.recipe, seeds, hyperparameters)

    def _begin(self, group: '_Group') -> Snapshot:
        state = self._init(group)
        fresh = Snapshot(
            state=state,
            totals=population.no_totals(group.mesh, state),
            step=0,
            histories=[[] for _ in group.runs],
            diverged=[None] * len(group.runs),
            seconds=0.0,
            changes=[],
        )
        return self._store.restore(group.runs, fresh, group.mesh) if self._store else fresh

    def _train_group(self, group: '_Group', progress: Progress) -> list[RunResult]:
        snapshot = self._begin(group)
        progress.skip(snapshot.step)
        self.restored_seconds += snapshot.seconds
        # Several hosts could not agree on a step after which to save.
        one_host = jax.process_count() == 1
        with put_off() if self._store and one_host else nullcontext(Pending()) as pending:
            self._train_epochs(group, snapshot, progress, pending)
            if self._store:
                self._store.finish()
                pending.message = self._explain_interrupt(self._store)
        self.train_seconds += snapshot.seconds
        recipe, test_images = self._plan.recipe, group.arrays[-1]
        logits, variables = jax.device_get(
            (
                population.predict_logits(group.mesh, recipe, snapshot.state, test_images),
                population.variables_to_test(group.mesh, recipe, snapshot.state),
            )
        )
        return [
            RunResult(
                plan=self._plan.runs[position],
                history=snapshot.histories[i],
                logits=np.asarray(logits[i]),
                variables=jax.tree.map(lambda leaf, i=i: leaf[i], variables),
                train_seconds=snapshot.seconds / group.at_once,
                diverged=snapshot.diverged[i],
                changes=tuple(snapshot.changes),
            )
            for i, position in enumerate(group.runs)
        ]

    def _train_epochs(
        self, group: '_Group', snapshot: Snapshot, progress: Progress, pending: Pending
    ) -> None:
        """Trains and saves until all is done, or a signal is pending."""
        images, labels, *_ = group.arrays
        every = self._plan.checkpoint.every

        def on_progress(num_steps: int, totals: Totals) -> bool:
            snapshot.step += num_steps
            progress.advance(num_steps, totals)
            return not pending.signal_number

        while snapshot.step < self._num_steps and not all(snapshot.diverged):
            start = time.perf_counter()
            snapshot.state, snapshot.totals = population.train_epoch(
                group.mesh,
                self._plan.recipe,
                snapshot.state,
                images,
                labels,
                self._plan.settings.batch_size,
                on_progress,
                snapshot.totals,
                snapshot.step % self._steps_per_epoch,
            )
            seconds = time.perf_counter() - start
            snapshot.seconds += seconds
            epoch, steps_of_next = divmod(snapshot.step, self._steps_per_epoch)
            is_due = False
            if not steps_of_next:
                self._end_epoch(group, snapshot)
                sick = snapshot.diverged
                rows = [of[-1] for i, of in enumerate(snapshot.histories) if not sick[i]]
                progress.report(epoch, rows, len(sick) - len(rows), seconds)
                is_due = bool(every and epoch % every == 0)
                is_due = is_due or snapshot.step == self._num_steps
            is_left = bool(pending.signal_number)
            if self._store and (is_due or is_left):
                self._store.save(group.runs, snapshot)
            if is_left:
                break

    def _explain_interrupt(self, store: Store) -> str:
        if store.newest is None:
            return 'nothing was saved yet'
        resume = (
            '' if self._plan.checkpoint.resume else ' with config.checkpoint.resume=true'
        )
        return f'saved in {store.newest}; the same command{resume} goes on from there'

    def _end_epoch(self, group: '_Group', snapshot: Snapshot) -> None:
        """Validates the runs, and notes their numbers and which have diverged."""
        validated = population.evaluate(
            group.mesh, self._plan.recipe, snapshot.state, *group.arrays[2:4]
        ).by_run()
        trained = snapshot.totals.by_run()
        snapshot.totals = population.no_totals(group.mesh, snapshot.state)
        epoch = snapshot.step // self._steps_per_epoch
        # Runs that fill the group up have no history.
        for i, position in enumerate(group.runs):
            row = EpochMetrics(epoch, *trained[i].means(), *validated[i].means())
            snapshot.histories[i].append(row)
            # A step too far shows in the validation loss, if it was the epoch's last.
            well = math.isfinite(row.train_loss) and math.isfinite(row.validation_loss)
            if not well and snapshot.diverged[i] is None:
                # After the first loss that is not finite, none is.
                steps_well = int(trained[i].finite) // self._plan.settings.batch_size
                begun_at = snapshot.step - self._steps_per_epoch
                step = min(begun_at + steps_well + 1, snapshot.step)
                peak = self._plan.runs[position].hyperparameters['learning_rate']
                schedule = self._plan.recipe.optimizer.unit_schedule()
                rate = peak * float(schedule(step - 1))
                snapshot.diverged[i] = Divergence(epoch, step, rate)


class _Group(NamedTuple):
    """Runs side by side, and where."""

    runs: range  # positions in the plan
    mesh: Mesh
    at_once: int  # how many there are with the repeats that fill up the mesh
    arrays: Any  # the data on its devices
