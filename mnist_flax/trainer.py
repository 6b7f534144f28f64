"""The runs of a plan, trained in groups of as many as the devices hold."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from mnist_flax import devices, population, run
from mnist_flax.checks import require
from mnist_flax.metrics import EpochMetrics
from mnist_flax.progress import Progress
from mnist_flax.results import RunResult
from mnist_flax.settings import Plan, RunPlan


class Trainer:
    """Trains the runs of a plan, as many side by side as the devices hold."""

    def __init__(self, plan: Plan, show: bool = True):
        self.compile_seconds = 0.0
        self.train_seconds = 0.0
        self._arrays: Any = None  # the data on the devices, once compiled
        self._plan = plan
        self._show = show
        self._mesh = plan.mesh
        self._at_once = population.num_at_once(
            plan.mesh, len(plan.runs), plan.settings.runs_at_once
        )

    def train(self) -> Iterator[list[RunResult]]:
        """Yields the results of runs that were trained side by side, group by group."""
        plan = self._plan
        if self._arrays is None:
            self.compile()
        progress = Progress(
            num_runs=len(plan.runs),
            at_once=self._at_once,
            num_epochs=plan.settings.num_epochs,
            steps_per_epoch=run.steps_per_epoch(
                len(plan.dataset.train.labels), plan.settings.batch_size
            ),
            shown=self._show,
        )
        with progress:
            for first in range(0, len(plan.runs), self._at_once):
                group = plan.runs[first : first + self._at_once]
                progress.begin([planned.seed for planned in group])
                # Not round the yield, where it would hold for the caller too.
                with self._precision():
                    results = self._train_group(group, progress)
                yield results

    def compile(self) -> None:
        """Loads the data and compiles, for fewer runs at once if all do not fit.

        Raises:
          UserError: As many runs at once as the config wants do not fit.
        """
        plan, dataset = self._plan, self._plan.dataset
        start = time.perf_counter()
        while True:
            self._arrays = devices.replicate(
                self._mesh, (*dataset.train, *dataset.validation, dataset.test.images)
            )
            images, labels, *_, test_images = self._arrays
            with self._precision():
                state = self._init(plan.runs[: self._at_once])
                needed = max(
                    population.compile_epoch(
                        self._mesh,
                        plan.recipe,
                        state,
                        images,
                        labels,
                        plan.settings.batch_size,
                    ),
                    population.compile_predictions(
                        self._mesh, plan.recipe, state, test_images
                    ),
                )
            limit = devices.memory(self._mesh)
            if needed <= limit or self._at_once == 1:
                break
            require(
                plan.settings.runs_at_once == 0,
                f'config.runs_at_once: found {self._at_once}, which need '
                f'{needed / 2**30:.1f} GiB on each device; allowed: what '
                f'{limit / 2**30:.1f} GiB hold, or 0 to find it',
            )
            half = math.ceil(self._at_once / 2)
            self._mesh = devices.make_mesh(
                plan.settings.num_devices, plan.settings.batch_size, num_runs=half
            )
            self._at_once = population.num_at_once(self._mesh, half, half)
        self.compile_seconds = time.perf_counter() - start
        if self._show and jax.process_index() == 0:
            print(f'compiled in {self.compile_seconds:.1f} s', flush=True)

    def _precision(self):
        return jax.default_matmul_precision(self._plan.settings.matmul_precision)

    def _init(self, group: Sequence[RunPlan]) -> run.TrainState:
        # Filled up to the common shape with runs whose results are dropped.
        filled = [group[i % len(group)] for i in range(self._at_once)]
        hyperparameters = {
            name: [planned.hyperparameters[name] for planned in filled]
            for name in filled[0].hyperparameters
        }
        seeds = [planned.seed for planned in filled]
        return population.init(self._mesh, self._plan.recipe, seeds, hyperparameters)

    def _train_group(self, group: Sequence[RunPlan], progress: Progress) -> list[RunResult]:
        settings, recipe, mesh = self._plan.settings, self._plan.recipe, self._mesh
        images, labels, validation_images, validation_labels, test_images = self._arrays
        state = self._init(group)
        histories: list[list[EpochMetrics]] = [[] for _ in group]
        diverged: list[int | None] = [None] * len(group)
        seconds_of_all = 0.0
        for epoch in range(1, settings.num_epochs + 1):
            start = time.perf_counter()
            state, totals = population.train_epoch(
                mesh, recipe, state, images, labels, settings.batch_size, progress.advance
            )
            seconds = time.perf_counter() - start
            seconds_of_all += seconds
            validated = population.evaluate(
                mesh, recipe, state, validation_images, validation_labels
            )
            # Runs that fill the group up have no history, and end the zip.
            for i, (history, trained, tested) in enumerate(
                zip(histories, totals.by_run(), validated.by_run(), strict=False)
            ):
                row = EpochMetrics(epoch, *trained.means(), *tested.means())
                history.append(row)
                # A step too far shows in the validation loss, if it was the epoch's last.
                well = math.isfinite(row.train_loss) and math.isfinite(row.validation_loss)
                if not well and diverged[i] is None:
                    diverged[i] = epoch
            rows = [histories[i][-1] for i in range(len(group)) if diverged[i] is None]
            progress.report(epoch, rows, len(group) - len(rows), seconds)
            if all(diverged):
                break
        logits, variables = jax.device_get(
            (
                population.predict_logits(mesh, recipe, state, test_images),
                population.variables_to_test(mesh, recipe, state),
            )
        )
        self.train_seconds += seconds_of_all
        return [
            RunResult(
                plan=planned,
                history=histories[i],
                logits=np.asarray(logits[i]),
                variables=jax.tree.map(lambda leaf, i=i: leaf[i], variables),
                train_seconds=seconds_of_all / self._at_once,
                diverged=diverged[i],
            )
            for i, planned in enumerate(group)
        ]
