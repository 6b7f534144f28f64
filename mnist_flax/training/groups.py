"""Dividing the runs of a plan into groups, which the devices train side by side."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Lowered
from jaxtyping import Array, Int32, UInt8

from mnist_flax.common.errors import require
from mnist_flax.training import devices, population
from mnist_flax.training.plan import Plan
from mnist_flax.training.run import TrainState


class Arrays(NamedTuple):
    """The data, on every device of a mesh."""

    train_images: UInt8[Array, 'train height width channels']
    train_labels: Int32[Array, 'train']
    validation_images: UInt8[Array, 'validation height width channels']
    validation_labels: Int32[Array, 'validation']
    test_images: UInt8[Array, 'test height width channels']


class Group(NamedTuple):
    """Runs that are trained side by side, and where."""

    runs: range  # positions in the plan
    mesh: Mesh
    size: int  # with the repeats that fill up the mesh
    arrays: Arrays


class Groups:
    """Divides the runs of a plan, as many side by side as the devices hold."""

    def __init__(self, plan: Plan):
        self.compile_seconds = 0.0
        self.slow_operations: list[str] = []  # once compiled
        self._plan = plan
        self._mesh = plan.mesh
        self._size = population.num_at_once(
            plan.mesh, len(plan.runs), plan.settings.runs_at_once
        )
        self._arrays: Arrays | None = None  # on the devices, once compiled

    def compile(self) -> None:
        """Compiles, for fewer runs at once if all do not fit, and loads the data.

        Raises:
          UserError: As many runs at once as the config wants do not fit, or not even one.
        """
        settings = self._plan.settings
        start = time.perf_counter()
        while True:
            needed = self._compile(self._mesh, self._size)
            limit = devices.memory_per_device(self._mesh)
            if needed <= limit:
                break
            sizes = f'{needed / 2**30:.1f} GiB on each device, which has '
            sizes += f'{limit / 2**30:.1f} GiB'
            require(
                self._size > 1,
                f'config.batch_size: {settings.batch_size} examples a step with this '
                f'config.model need {sizes}; make one of them smaller',
            )
            require(
                settings.runs_at_once == 0,
                f'config.runs_at_once: {self._size} runs need {sizes}; use fewer, or 0 to '
                'have the number found',
            )
            half = math.ceil(self._size / 2)
            self._mesh = devices.make_mesh(
                settings.num_devices, settings.batch_size, num_runs=half
            )
            self._size = population.num_at_once(self._mesh, half, half)
        self._arrays = _load(self._plan, self._mesh)
        self.compile_seconds = time.perf_counter() - start

    def divide(self, started: Sequence[range]) -> list[range]:
        """Lists the groups; runs that were started together stay together.

        Args:
          started: The groups of an earlier process, in order.
        """
        groups, end = [], 0
        for group in started:
            groups += [*self._divide(end, group.start), group]
            end = group.stop
        return groups + self._divide(end, len(self._plan.runs))

    def place(self, runs: range) -> Group:
        """Gives a group its devices, and the data on them.

        Raises:
          UserError: It was started on other devices, and does not fit on these.
        """
        if runs in self._divide(0, len(self._plan.runs)):
            assert self._arrays is not None
            return Group(runs, self._mesh, self._size, self._arrays)
        settings, size = self._plan.settings, len(runs)
        mesh = devices.make_mesh(settings.num_devices, settings.batch_size, num_runs=size)
        filled = population.num_at_once(mesh, size, size)
        needed, limit = self._compile(mesh, filled), devices.memory_per_device(mesh)
        require(
            needed <= limit,
            f'--workdir: {size} runs that were started side by side need '
            f'{needed / 2**30:.1f} GiB on each device, which has {limit / 2**30:.1f} GiB; '
            'resume them on devices like those where they were started',
        )
        return Group(runs, mesh, filled, _load(self._plan, mesh))

    def init(self, group: Group) -> TrainState:
        """Draws the initial states of a group's runs."""
        # Filled up to the common shape with runs whose results are dropped.
        planned = [self._plan.runs[position] for position in group.runs]
        filled = [planned[i % len(planned)] for i in range(group.size)]
        hyperparams = {
            name: [run.hyperparams[name] for run in filled]
            for name in filled[0].hyperparams
        }
        seeds = [run.seed for run in filled]
        return population.init(group.mesh, self._plan.recipe, seeds, hyperparams)

    def _divide(self, first: int, end: int) -> list[range]:
        return [
            range(start, min(start + self._size, end))
            for start in range(first, end, self._size)
        ]

    def _compile(self, mesh: Mesh, size: int) -> int:
        """Compiles what so many runs need; returns the bytes they take on each device."""
        settings = self._plan.settings
        with jax.default_matmul_precision(settings.matmul_precision):
            return max(population.compile_programs(self._lower(mesh, size)))

    def _lower(self, mesh: Mesh, size: int) -> Iterator[Lowered]:
        settings, recipe = self._plan.settings, self._plan.recipe
        arrays = Arrays(*devices.describe_replicated(mesh, _list_arrays(self._plan)))
        names = self._plan.runs[0].hyperparams.keys()
        init, state = population.lower_init(mesh, recipe, size, names)
        yield init
        epoch, self.slow_operations = population.lower_epoch(
            mesh,
            recipe,
            state,
            arrays.train_images,
            arrays.train_labels,
            settings.batch_size,
            in_slices=settings.log_every_steps > 0
            or any('every_steps' in of for of in settings.evaluators.values()),
        )
        yield epoch
        yield population.lower_predictions(mesh, recipe, state, arrays.test_images)
        yield population.lower_order(mesh, state, arrays.train_labels, settings.batch_size)


def _load(plan: Plan, mesh: Mesh) -> Arrays:
    return Arrays(*devices.replicate(mesh, _list_arrays(plan)))


def _list_arrays(plan: Plan) -> tuple[np.ndarray, ...]:
    dataset = plan.dataset
    return (*dataset.train, *dataset.validation, dataset.test.images)
