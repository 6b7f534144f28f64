"""Runs side by side on the devices: programs made of the pure functions of `run`.

Every array of a run has a leading axis of runs here, even if there is only one.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Compiled, Lowered
from jaxtyping import Array, Float, Int, UInt8

from mnist_flax.common import backend
from mnist_flax.common.switches import in_our_settings
from mnist_flax.models.slow_ops import find_slow
from mnist_flax.training import devices, metrics, prediction, run
from mnist_flax.training.devices import on_mesh
from mnist_flax.training.metrics import Totals
from mnist_flax.training.run import Recipe, TrainState

# On a CPU an epoch is run in so many slices of its steps, so that a progress bar moves and
# Ctrl-C is answered within a second. On an accelerator it is one.
SLICES_PER_EPOCH = 20

# Arrays, or what `devices.describe_runs` and `devices.describe_replicated` give.
_Described: TypeAlias = Array | jax.ShapeDtypeStruct


def init(
    mesh: Mesh,
    recipe: Recipe,
    seeds: Sequence[int],
    hyperparams: Mapping[str, Sequence[float]],
) -> TrainState:
    """Draws the initial states of runs.

    Args:
      mesh: The devices; its axis of runs divides the number of runs evenly.
      recipe: What the runs share.
      seeds: The seed of each run.
      hyperparams: The numbers of each run by name, see `run.TrainState`.

    Returns:
      Their states.
    """
    arguments = (
        np.array(seeds, np.uint32),
        {name: np.array(values, np.float32) for name, values in hyperparams.items()},
    )
    arguments = devices.split_runs(mesh, arguments)
    return _init_program(mesh, recipe)(*arguments)


def train_epoch(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[Array, 'examples height width channels'],
    labels: Int[Array, 'examples'],
    batch_size: int,
    on_progress: Callable[[int, TrainState, Totals], bool] = lambda *_: True,
    totals: Totals | None = None,
    first_step: int = 0,
    stops: Collection[int] = (),
) -> tuple[TrainState, Totals]:
    """Trains each run on every example once, in a new random order of its own.

    An epoch that was interrupted can be resumed, and ends with the same bits.

    Args:
      mesh: The devices, of which those of one run divide ``batch_size`` evenly.
      recipe: What the runs share.
      state: The runs; the arrays are donated to the new state, and cannot be used
        afterwards.
      images: The training set, on every device.
      labels: Its labels.
      batch_size: Examples a step of one run, over all its devices.
      on_progress: Called now and then with the number of steps done since the last call,
        the runs, and the totals of the epoch so far, which it must not keep; tells whether
        to continue.
      totals: Those of the epoch's first steps, if it is resumed after them; donated too.
      first_step: How many steps these are.
      stops: Numbers of steps after which ``on_progress`` must be called.

    Returns:
      The new state, and by run the totals of the predictions made just before each step.
    """
    order = _order_program(mesh, labels, batch_size)(state)
    totals = no_totals(mesh, recipe, state) if totals is None else totals
    program = _program(mesh, recipe, batch_size)
    num_steps = run.steps_per_epoch(len(labels), batch_size)
    for first, last in _slices(mesh, first_step, num_steps, stops):
        bounds = _bounds(mesh, first, last, num_steps)
        state, totals = program(state, totals, order, images, labels, bounds)
        jax.block_until_ready(totals)
        if not on_progress(last - first, state, totals):
            break
    return state, totals


def no_totals(mesh: Mesh, recipe: Recipe, state: TrainState) -> Totals:
    """Starts the sums of an epoch."""
    return devices.split_runs(mesh, _zeros(recipe, state))


def lower_init(
    mesh: Mesh, recipe: Recipe, num_runs: int, hyperparams: Collection[str]
) -> tuple[Lowered, TrainState]:
    """Lowers what `init` runs, so that it can be compiled.

    Args:
      mesh: As there, as all below.
      recipe: What the runs share.
      num_runs: How many they are.
      hyperparams: The names of their numbers.

    Returns:
      The program, and a description of the states that it returns.
    """
    arguments = (
        np.zeros(num_runs, np.uint32),
        {name: np.zeros(num_runs, np.float32) for name in hyperparams},
    )
    arguments = devices.describe_runs(mesh, arguments)
    program: Any = _init_program(mesh, recipe)
    state = devices.describe_runs(mesh, program.eval_shape(*arguments))
    return program.lower(*arguments), state


def lower_order(
    mesh: Mesh, state: TrainState, labels: Int[_Described, 'examples'], batch_size: int
) -> Lowered:
    """Lowers what draws the order of an epoch; see `lower_epoch`."""
    program: Any = _order_program(mesh, labels, batch_size)
    return program.lower(state)


def lower_epoch(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[_Described, 'examples height width channels'],
    labels: Int[_Described, 'examples'],
    batch_size: int,
    in_slices: bool = False,
) -> tuple[Lowered, list[str]]:
    """Lowers the steps that `train_epoch` runs with the same arguments.

    Args:
      mesh: As there, as all below.
      recipe: What the runs share.
      state: The runs, or their description, as `lower_init` gives it.
      images: The training set, or its description.
      labels: Its labels, likewise.
      batch_size: Examples a step.
      in_slices: Whether `train_epoch` will get ``stops``.

    Returns:
      The program, and what is slow in it on a CPU.
    """
    order_program: Any = _order_program(mesh, labels, batch_size)
    order = devices.describe_runs(mesh, order_program.eval_shape(state))
    totals = devices.describe_runs(mesh, _zeros(recipe, state))
    num_steps = run.steps_per_epoch(len(labels), batch_size)
    bounds = _bounds(mesh, 0, num_steps - in_slices, num_steps)
    program: Any = _program(mesh, recipe, batch_size)
    traced = program.trace(state, totals, order, images, labels, bounds)
    slow = find_slow(traced.jaxpr) if devices.is_cpu(mesh) else []
    return traced.lower(), slow


def lower_predictions(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[_Described, 'examples height width channels'],
) -> Lowered:
    """Lowers `predict_logits` for as many images; see `lower_epoch`."""
    program: Any = on_mesh(prediction.predict_logits, mesh, 1, recipe=recipe)
    return program.lower(state, images)


def compile_programs(programs: Iterable[Lowered]) -> list[Compiled]:
    """Compiles programs; a call with arrays of the same shapes then finds them compiled.

    Args:
      programs: What to compile, best the one first that takes longest. Each is asked for
        while those before it are compiled.

    Returns:
      The compiled programs, in the same order.
    """
    # The compiler is not Python, so that threads compile at the same time. Several hosts,
    # which may have to agree on what they compile, do it in order.
    num_threads = devices.count_cores() if jax.process_count() == 1 else 1
    # A thread has a setting of its own, under which a call would not find the program.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]

    def compile_program(program: Lowered) -> Compiled:
        with in_our_settings(), jax.default_matmul_precision(precision):
            return program.compile()

    pool = futures.ThreadPoolExecutor(num_threads)
    try:
        compiled = [pool.submit(compile_program, program) for program in programs]
        return [program.result() for program in compiled]
    finally:  # After an error, or Ctrl-C, what waits is not compiled.
        pool.shutdown(wait=False, cancel_futures=True)


def count_bytes(compiled: Compiled) -> int:
    """Counts the bytes of memory that a program takes on each device."""
    sizes: Any = compiled.memory_analysis()
    return (
        sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    )


def num_at_once(mesh: Mesh, num_runs: int, wanted: int) -> int:
    """Settles how many runs the devices train side by side.

    Args:
      mesh: The devices.
      num_runs: Runs in all.
      wanted: How many the user wants; 0 if it is all the same.

    Returns:
      A multiple of the size of the mesh's axis of runs.
    """
    num_groups = mesh.shape[devices.RUN]
    # A core gains nothing from more than one: its products are large enough, and two runs
    # need twice the cache. Measured: docs/performance.md. A TPU's compiler estimates more
    # time for runs at once, too. Several hosts could not agree on how many fit in memory.
    one_each = devices.platform(mesh) in ('cpu', 'tpu') or backend.num_hosts() > 1
    count = wanted or (num_groups if one_each else num_runs)
    return math.ceil(min(count, num_runs) / num_groups) * num_groups


def _init_program(mesh, recipe):
    return on_mesh(run.init, mesh, 2, recipe=recipe)


def _order_program(mesh, labels, batch_size):
    sizes = {'num_examples': len(labels), 'batch_size': batch_size}
    return on_mesh(run.epoch_order, mesh, 1, **sizes)


def _zeros(recipe, state):
    totals = metrics.no_totals(recipe.metric_names, recipe.logged_names)
    return jax.tree.map(lambda x: np.zeros(len(state.step), x.dtype), totals)


def _program(mesh, recipe, batch_size):
    return on_mesh(
        run.train_steps, mesh, 3, donate=(0, 1), recipe=recipe, batch_size=batch_size
    )


def _slices(mesh, first_step, num_steps, stops):
    count = min(SLICES_PER_EPOCH, num_steps) if devices.is_cpu(mesh) else 1
    ends = {num_steps * i // count for i in range(count + 1)} | {*stops}
    later = sorted(end for end in ends if end > first_step)
    return itertools.pairwise([first_step, *later])


def _bounds(mesh, first, last, num_steps):
    # None is the whole epoch: with a number of steps that the compiler knows, an
    # accelerator need not ask the host after each step whether to continue.
    whole = (first, last) == (0, num_steps)
    if whole and not devices.is_cpu(mesh):
        return None
    return np.array([first, last], np.int32)


def predict_logits(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[Array, 'examples height width channels'],
) -> Float[Array, 'runs examples classes']:
    """Computes the logits of any number of images by each run."""
    return on_mesh(prediction.predict_logits, mesh, 1, recipe=recipe)(state, images)


def evaluate(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[Array, 'examples height width channels'],
    labels: Int[Array, 'examples'],
) -> Totals:
    """Sums the loss and the correct predictions of each run over every example."""
    # Two programs, so that one compilation of the network serves all who want its logits.
    logits = predict_logits(mesh, recipe, state, images)
    return on_mesh(metrics.totals, mesh, 1)(logits, labels)


def eval_variables(mesh: Mesh, recipe: Recipe, state: TrainState) -> dict[str, Any]:
    """Picks what each run's predictions are made with, see `prediction.eval_variables`."""
    return on_mesh(prediction.eval_variables, mesh, 1, ema_decay=recipe.ema_decay)(state)
