"""Dividing the runs of a plan into groups, which the devices train side by side."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Compiled, Lowered
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


class Programs(NamedTuple):
    """What is compiled before a group trains."""

    init: Compiled
    epoch: Compiled
    predictions: Compiled
    order: Compiled

    @property
    def num_bytes(self) -> int:
        """Counts the bytes that the largest takes on each device."""
        return max(population.count_bytes(program) for program in self)


class Groups:
    """Divides the runs of a plan, as many side by side as the devices hold."""

    def __init__(self, plan: Plan):
        self.compile_seconds = 0.0
        self.slow_operations: list[str] = []  # once compiled
        self._plan = plan
        self.mesh = plan.mesh
        # How many runs are trained side by side; less once compiled, if they do not fit.
        self.size = population.num_at_once(
            plan.mesh, len(plan.runs), plan.settings.runs_at_once
        )
        self._arrays: Arrays | None = None  # on the devices, once compiled
        self._others: dict[int, Group] = {}  # of other sizes

    @property
    def are_compiled(self) -> bool:
        """Tells whether `compile` has been called."""
        return self._arrays is not None

    def compile(self) -> None:
        """Compiles, see `fit`, and loads the data."""
        start = time.perf_counter()
        self.fit()
        self._arrays = _load(self._plan, self.mesh)
        self.compile_seconds = time.perf_counter() - start

    def fit(self) -> Programs:
        """Compiles, for fewer runs at once if all do not fit.

        Raises:
          UserError: As many runs at once as the config wants do not fit, or not even one.
        """
        settings = self._plan.settings
        while True:
            programs = self._compile(self.mesh, self.size)
            limit = devices.memory_per_device(self.mesh)
            if programs and programs.num_bytes <= limit:
                return programs
            sizes = f'{_explain(programs)} on each device, which has '
            sizes += f'{limit / 2**30:.1f} GiB'
            require(
                self.size > 1,
                f'config.batch_size: {settings.batch_size} examples a step with this '
                f'config.model need {sizes}; make one of them smaller',
            )
            require(
                settings.runs_at_once == 0,
                f'config.runs_at_once: {self.size} runs need {sizes}; use fewer, or 0 to '
                'have the number found',
            )
            half = math.ceil(self.size / 2)
            self.mesh = devices.make_mesh(
                settings.num_devices, settings.batch_size, num_runs=half
            )
            self.size = population.num_at_once(self.mesh, half, half)

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
            return Group(runs, self.mesh, self.size, self._arrays)
        if len(runs) not in self._others:
            self._others[len(runs)] = self._place(runs)
        return self._others[len(runs)]._replace(runs=runs)

    def _place(self, runs: range) -> Group:
        settings, size = self._plan.settings, len(runs)
        mesh = devices.make_mesh(settings.num_devices, settings.batch_size, num_runs=size)
        filled = population.num_at_once(mesh, size, size)
        programs, limit = self._compile(mesh, filled), devices.memory_per_device(mesh)
        require(
            programs is not None and programs.num_bytes <= limit,
            f'--workdir: {size} runs that were started side by side need '
            f'{_explain(programs)} on each device, which has {limit / 2**30:.1f} GiB; '
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
            range(start, min(start + self.size, end))
            for start in range(first, end, self.size)
        ]

    def _compile(self, mesh: Mesh, size: int) -> Programs | None:
        """Compiles for so many runs; None if the compiler finds that they do not fit."""
        with jax.default_matmul_precision(self._plan.settings.matmul_precision):
            try:
                return Programs(*population.compile_programs(self._lower(mesh, size)))
            except jax.errors.JaxRuntimeError as error:
                if 'RESOURCE_EXHAUSTED' not in str(error):
                    raise
                return None

    def _lower(self, mesh: Mesh, size: int) -> Iterator[Lowered]:
        """Yields what `Programs` has."""
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


def _explain(programs: Programs | None) -> str:
    return f'{programs.num_bytes / 2**30:.1f} GiB' if programs else 'more memory'


def _load(plan: Plan, mesh: Mesh) -> Arrays:
    return Arrays(*devices.replicate(mesh, _list_arrays(plan)))


def _list_arrays(plan: Plan) -> tuple[np.ndarray, ...]:
    dataset = plan.dataset
    return (*dataset.train, *dataset.validation, dataset.test.images)
