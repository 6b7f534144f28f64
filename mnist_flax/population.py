"""Runs side by side on the devices: programs made of the pure functions of `run`.

Every array of a run has a leading axis of runs here, even if there is only one.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from mnist_flax import devices, metrics, run
from mnist_flax.devices import on_mesh
from mnist_flax.metrics import Totals
from mnist_flax.run import Recipe, TrainState

# On a CPU an epoch is run in so many slices of its steps, so that a progress bar moves and
# Ctrl-C is answered within a second. On an accelerator it is one.
SLICES_PER_EPOCH = 20


def init(
    mesh: Mesh,
    recipe: Recipe,
    seeds: Sequence[int],
    hyperparameters: Mapping[str, Sequence[float]],
) -> TrainState:
    """Draws the initial states of runs.

    Args:
      mesh: The devices; its axis of runs divides the number of runs evenly.
      recipe: What the runs share.
      seeds: The seed of each run.
      hyperparameters: The numbers of each run by name, see `run.TrainState`.

    Returns:
      Their states.
    """
    arguments = (
        np.array(seeds, np.uint32),
        {name: np.array(values, np.float32) for name, values in hyperparameters.items()},
    )
    arguments = devices.split_runs(mesh, arguments)
    return on_mesh(run.init, mesh, 2, recipe=recipe)(*arguments)


def train_epoch(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    batch_size: int,
    on_progress: Callable[[int, Totals], None] = lambda num_steps, totals: None,
) -> tuple[TrainState, Totals]:
    """Trains each run on every example once, in a new random order of its own.

    Args:
      mesh: The devices, of which those of one run divide ``batch_size`` evenly.
      recipe: What the runs share.
      state: The runs after a whole number of epochs; the arrays are donated to the new
        state, and cannot be used afterwards.
      images: The training set, on every device.
      labels: Its labels.
      batch_size: Examples a step of one run, over all its devices.
      on_progress: Called now and then with the number of steps done since the last call
        and the totals of the epoch so far, which it must not keep.

    Returns:
      The new state, and by run the totals of the predictions made just before each step.
    """
    order = _order(mesh, state, labels, batch_size)
    totals = _no_totals(mesh, state)
    program = _program(mesh, recipe, batch_size)
    num_steps = run.steps_per_epoch(len(labels), batch_size)
    for first, last in _slices(mesh, num_steps):
        state, totals = program(
            state, totals, order, images, labels, _bounds(mesh, first, last)
        )
        jax.block_until_ready(totals)
        on_progress(last - first, totals)
    return state, totals


def compile_epoch(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    batch_size: int,
) -> int:
    """Compiles what `train_epoch` runs with the same arguments.

    Returns:
      The bytes of memory that it takes on each device.
    """
    order = _order(mesh, state, labels, batch_size)
    program = _program(mesh, recipe, batch_size)
    totals = _no_totals(mesh, state)
    lowered = program.lower(state, totals, order, images, labels, _bounds(mesh, 0, 0))
    return _memory(lowered.compile())


def compile_predictions(
    mesh: Mesh, recipe: Recipe, state: TrainState, images: UInt8[Array, 'examples 28 28 1']
) -> int:
    """Compiles `predict_logits` for as many images; returns bytes likewise."""
    program: Any = on_mesh(run.predict_logits, mesh, 1, recipe=recipe)
    return _memory(program.lower(state, images).compile())


def _memory(compiled):
    sizes = compiled.memory_analysis()
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
    # need twice the cache. Measured: docs/performance.md. Several hosts could not agree on
    # how many fit in memory.
    one_each = devices.is_cpu(mesh) or jax.process_count() > 1
    count = wanted or (num_groups if one_each else num_runs)
    return math.ceil(min(count, num_runs) / num_groups) * num_groups


def _order(mesh, state, labels, batch_size):
    sizes = {'num_examples': len(labels), 'batch_size': batch_size}
    return on_mesh(run.epoch_order, mesh, 1, **sizes)(state)


def _no_totals(mesh, state):
    num_runs = len(state.step)
    return devices.split_runs(
        mesh, jax.tree.map(lambda x: np.zeros(num_runs, x.dtype), metrics.no_totals())
    )


def _program(mesh, recipe, batch_size):
    return on_mesh(
        run.train_steps, mesh, 3, donate=(0, 1), recipe=recipe, batch_size=batch_size
    )


def _slices(mesh, num_steps):
    count = min(SLICES_PER_EPOCH, num_steps) if devices.is_cpu(mesh) else 1
    ends = [num_steps * i // count for i in range(count + 1)]
    return list(itertools.pairwise(ends))


def _bounds(mesh, first, last):
    # None is the whole epoch: with a number of steps that the compiler knows, an
    # accelerator need not ask the host after each step whether to go on.
    return np.array([first, last], np.int32) if devices.is_cpu(mesh) else None


def predict_logits(
    mesh: Mesh, recipe: Recipe, state: TrainState, images: UInt8[Array, 'examples 28 28 1']
) -> Float[Array, 'runs examples classes']:
    """Computes the logits of any number of images by each run."""
    return on_mesh(run.predict_logits, mesh, 1, recipe=recipe)(state, images)


def evaluate(
    mesh: Mesh,
    recipe: Recipe,
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
) -> Totals:
    """Sums the loss and the correct predictions of each run over every example."""
    # Two programs, so that one compilation of the network serves all who want its logits.
    logits = predict_logits(mesh, recipe, state, images)
    return on_mesh(metrics.totals, mesh, 1)(logits, labels)


def variables_to_test(mesh: Mesh, recipe: Recipe, state: TrainState) -> dict[str, Any]:
    """Picks what each run's predictions are made with, see `run.variables_to_test`."""
    return on_mesh(run.variables_to_test, mesh, 1, ema_decay=recipe.ema_decay)(state)
