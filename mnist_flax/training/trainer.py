"""The epochs of the runs of a plan, group by group, saved and resumed."""

import pathlib
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import nullcontext, suppress

import jax
import numpy as np

from mnist_flax.common import waiting
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.interrupts import PendingSignal, defer_signals
from mnist_flax.training import devices, population
from mnist_flax.training.evaluators import create_evaluators, measure
from mnist_flax.training.groups import Group, Groups
from mnist_flax.training.metrics import Totals
from mnist_flax.training.observer import Observer
from mnist_flax.training.plan import Plan
from mnist_flax.training.progress import Progress, TimeLeft
from mnist_flax.training.records import check_writers
from mnist_flax.training.results import RunResult
from mnist_flax.training.run import TrainState
from mnist_flax.training.snapshots import Snapshot, SnapshotStore


class Trainer:
    """Trains the runs of a plan; with a store it resumes them, and saves them there."""

    def __init__(
        self,
        plan: Plan,
        store: SnapshotStore | None = None,
        time_left: TimeLeft | None = None,
        show: bool = True,
        profile: int = 0,
    ):
        self.train_seconds = 0.0
        self.restored_seconds = 0.0  # those that an earlier process had trained for
        self._plan = plan
        self._store = store
        # With the runs of other programs.
        self._time_left = time_left or TimeLeft(len(plan.runs))
        self._show = show
        self._profile = profile  # the epoch to profile, from 1
        self._groups = Groups(plan)
        self._part = 1.0  # of the group's training, which is this process's own
        self._tried = False  # whether the evaluators have been called once
        self._evaluators = create_evaluators(plan.settings.evaluators, plan.dataset)
        self._columns: dict[int, Set[str]] = {}  # of the first group, by epoch
        check_writers(plan.settings.writers)

    @property
    def compile_seconds(self) -> float:
        """Seconds that it took to load the data and to compile."""
        return self._groups.compile_seconds

    def train(
        self, workdir: pathlib.Path | None = None, groups: Sequence[range] | None = None
    ) -> Iterator[list[RunResult]]:
        """Yields the results of runs that were trained side by side, group by group.

        Args:
          workdir: Where records are written while training; None for nowhere.
          groups: Positions in the plan; None for all, as many side by side as fit.

        Raises:
          Interrupted: Ctrl-C or SIGTERM came, and the runs are saved.
          UserError: Something cannot be saved, or what was saved cannot be resumed.
        """
        if not self._groups.are_compiled:
            self._compile()
        if groups is None:
            groups = self._groups.divide(self._store.started() if self._store else [])
        progress = Progress(
            time_left=self._time_left,
            num_groups=len(groups),
            num_epochs=self._plan.settings.num_epochs,
            steps_per_epoch=self._plan.steps_per_epoch,
            validation=self._plan.dataset.validation_name,
            shown=self._show,
        )
        precision = self._plan.settings.matmul_precision
        with progress:
            for runs in groups:
                progress.start([self._plan.runs[i] for i in runs])
                # Not round the yield, where it would hold for the caller too.
                with jax.default_matmul_precision(precision):
                    start = time.perf_counter()
                    group = self._groups.place(runs)
                    results = self._train_group(group, progress, workdir)
                    seconds = time.perf_counter() - start
                self._time_left.add(len(runs), self._part, seconds)
                yield results

    def _compile(self) -> None:
        is_shown = self._show and jax.process_index() == 0
        if is_shown:
            waiting.say('compiling, which takes longer the first time')
        self._groups.compile()
        if is_shown:
            print(f'compiled in {self.compile_seconds:.1f} s', flush=True)
            if slow := self._groups.slow_operations:
                print(
                    f'note: config.model uses {" and ".join(slow)}, which is slow in '
                    'training on a CPU; mnist_flax.models.Conv and max_pool compute the '
                    'same, up to 20 times as fast (docs/models.md)',
                    flush=True,
                )

    def _train_group(
        self, group: Group, progress: Progress, workdir: pathlib.Path | None
    ) -> list[RunResult]:
        snapshot = self._start(group)
        progress.skip(snapshot.step)
        if not self._tried and snapshot.step < self._plan.num_steps:
            # A mistake in an evaluator is told now, not at the end of an epoch.
            measure(self._evaluators, self._plan, group, snapshot.state, step=snapshot.step)
            self._tried = True
        self.restored_seconds += snapshot.seconds
        self._part = 1 - snapshot.step / self._plan.num_steps
        # Several hosts could not agree on a step after which to save.
        deferred = self._store and jax.process_count() == 1
        observer = Observer(
            self._plan,
            group,
            snapshot,
            self._evaluators,
            workdir,
            self._time_left.num_runs,
            self._profile,
        )
        with (
            observer,
            defer_signals() if deferred else nullcontext(PendingSignal()) as pending,
        ):
            try:
                self._train_epochs(group, snapshot, observer, progress, pending)
            except Exception:
                with suppress(UserError):  # nothing is written after a failure is told
                    if self._store:
                        self._store.finish()
                raise
            self._profile = 0  # one is enough
            if self._store:
                self._store.finish()
                pending.message = self._explain_interrupt(self._store)
        self.train_seconds += snapshot.seconds
        mesh, recipe, state = group.mesh, self._plan.recipe, snapshot.state
        logits, variables = devices.fetch(
            (
                population.predict_logits(mesh, recipe, state, group.arrays.test_images),
                population.eval_variables(mesh, recipe, state),
            )
        )
        return [
            RunResult(
                plan=self._plan.runs[position],
                model=recipe.model,
                image_shape=recipe.image_shape,
                matmul_precision=self._plan.settings.matmul_precision,
                rows=snapshot.histories[i],
                logits=np.asarray(logits[i]),
                variables=jax.tree.map(lambda leaf, i=i: leaf[i], variables),
                train_seconds=snapshot.seconds / group.size,
                diverged=snapshot.diverged[i],
                changes=tuple(snapshot.changes),
            )
            for i, position in enumerate(group.runs)
        ]

    def _start(self, group: Group) -> Snapshot:
        state = self._groups.init(group)
        fresh = Snapshot(
            state=state,
            totals=population.no_totals(group.mesh, self._plan.recipe, state),
            step=0,
            histories=[[] for _ in group.runs],
            diverged=[None] * len(group.runs),
            seconds=0.0,
            changes=[],
            logged=[{} for _ in group.runs],
        )
        return self._store.restore(group.runs, fresh, group.mesh) if self._store else fresh

    def _train_epochs(
        self,
        group: Group,
        snapshot: Snapshot,
        observer: Observer,
        progress: Progress,
        pending: PendingSignal,
    ) -> None:
        """Trains and saves until all is done, or a signal is pending."""
        plan, every = self._plan, self._plan.checkpoint.every

        def on_progress(num_steps: int, state: TrainState, totals: Totals) -> bool:
            snapshot.step += num_steps
            progress.advance(num_steps, totals)
            observer.after_steps(snapshot.step, state, totals)
            return not pending.signal_number

        while snapshot.step < plan.num_steps and not all(snapshot.diverged):
            start = time.perf_counter()
            snapshot.state, snapshot.totals = population.train_epoch(
                group.mesh,
                plan.recipe,
                snapshot.state,
                group.arrays.train_images,
                group.arrays.train_labels,
                plan.settings.batch_size,
                on_progress,
                snapshot.totals,
                snapshot.step % plan.steps_per_epoch,
                observer.start_epoch(),
            )
            seconds = time.perf_counter() - start - observer.seconds
            observer.seconds = 0.0
            snapshot.seconds += seconds
            epoch, steps_of_next = divmod(snapshot.step, plan.steps_per_epoch)
            is_due = False
            if not steps_of_next:
                observer.after_epoch()
                columns = snapshot.histories[0][-1].keys()
                first = self._columns.setdefault(epoch, columns)
                require(
                    columns == first,
                    f'config.evaluators: one run has {[*first]}, another one '
                    f'{[*columns]}; give the same for all',
                )
                progress.report(epoch, snapshot.histories, snapshot.diverged, seconds)
                is_last = snapshot.step == plan.num_steps
                is_due = is_last or bool(every and epoch % every == 0)
            is_interrupted = bool(pending.signal_number)
            if self._store and (is_due or is_interrupted):
                observer.sync()
                self._store.save(group.runs, snapshot)
            if is_interrupted:
                break

    def _explain_interrupt(self, store: SnapshotStore) -> str:
        if store.newest is None:
            return 'nothing was saved yet'
        resume = (
            '' if self._plan.checkpoint.resume else ' with config.checkpoint.resume=true'
        )
        return f'saved in {store.newest}; the same command{resume} resumes from there'
