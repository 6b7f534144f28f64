"""One run: initial state, an epoch of training, evaluation.

The functions that take a mesh compile and call the pure ones, which say what one device
does with its share of every batch.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, no_type_check

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, UInt8

from mnist_flax import devices, metrics
from mnist_flax.data import IMAGE_SHAPE, normalize
from mnist_flax.devices import DATA, on_mesh, replicate
from mnist_flax.metrics import Totals

# On a CPU an epoch is run in so many slices of its steps, so that a progress bar moves and
# Ctrl-C is answered within a second. On an accelerator it is one.
SLICES_PER_EPOCH = 20


@no_type_check  # compiling fills it with descriptions of arrays
class TrainState(train_state.TrainState):
    """Flax's training state with the key from which a run draws all its randomness."""

    params: Any  # a dict of arrays; Flax's annotation still says FrozenDict
    key: Key[Array, '...']


def create_train_state(
    mesh: Mesh, model: nn.Module, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """Initialises the parameters and the optimizer's state, on every device."""
    key = on_mesh(jax.random.key, mesh)(np.uint32(seed))
    return on_mesh(init, mesh, model=model, optimizer=optimizer)(key)


def init(
    key: PRNGKeyArray, *, model: nn.Module, optimizer: optax.GradientTransformation
) -> TrainState:
    """Draws a run's initial state; for `devices.on_mesh`."""
    init_key, key = jax.random.split(key)
    params = model.init(init_key, jnp.zeros((1, *IMAGE_SHAPE)))['params']
    return TrainState.create(apply_fn=model.apply, params=params, tx=optimizer, key=key)


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Counts the batches of an epoch, the last of which may be smaller."""
    return math.ceil(num_examples / batch_size)


def train_epoch(
    mesh: Mesh,
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    batch_size: int,
    on_progress: Callable[[int, Totals], None] = lambda num_steps, totals: None,
) -> tuple[TrainState, Totals]:
    """Trains on every example once, in a new random order.

    Args:
      mesh: The devices, which divide ``batch_size`` evenly.
      state: The state after a whole number of epochs; its arrays are donated to the new
        state, and cannot be used afterwards.
      images: The training set, on every device.
      labels: Its labels.
      batch_size: Examples a step, over all devices.
      on_progress: Called now and then with the number of steps done since the last call
        and the totals of the epoch so far, which it must not keep.

    Returns:
      The new state, and the totals of the predictions made just before each step.
    """
    order = _order(mesh, state, labels, batch_size)
    totals = replicate(mesh, metrics.no_totals())
    program = _program(mesh, batch_size)
    num_steps = steps_per_epoch(len(labels), batch_size)
    for first, last in _slices(mesh, num_steps):
        state, totals = program(
            state, totals, images, labels, order, _bounds(mesh, first, last)
        )
        jax.block_until_ready(totals)
        on_progress(last - first, totals)
    return state, totals


def compile_epoch(
    mesh: Mesh,
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    batch_size: int,
) -> None:
    """Compiles what `train_epoch` runs with the same arguments."""
    order = _order(mesh, state, labels, batch_size)
    totals = replicate(mesh, metrics.no_totals())
    program = _program(mesh, batch_size)
    program.lower(state, totals, images, labels, order, _bounds(mesh, 0, 0)).compile()


def _order(mesh, state, labels, batch_size):
    sizes = {'num_examples': len(labels), 'batch_size': batch_size}
    return on_mesh(epoch_order, mesh, **sizes)(state)


def _program(mesh, batch_size):
    return on_mesh(train_steps, mesh, donate=(0, 1), batch_size=batch_size)


def _slices(mesh, num_steps):
    count = min(SLICES_PER_EPOCH, num_steps) if devices.is_cpu(mesh) else 1
    ends = [num_steps * i // count for i in range(count + 1)]
    return list(itertools.pairwise(ends))


def _bounds(mesh, first, last):
    # None is the whole epoch: with a number of steps that the compiler knows, an
    # accelerator need not ask the host after each step whether to go on.
    return np.array([first, last], np.int32) if devices.is_cpu(mesh) else None


def epoch_order(
    state: TrainState, *, num_examples: int, batch_size: int
) -> Int[Array, 'examples']:
    """Draws the random order of the epoch that ``state`` is about to begin."""
    epoch = state.step // steps_per_epoch(num_examples, batch_size)
    return jax.random.permutation(jax.random.fold_in(state.key, epoch), num_examples)


def train_steps(
    state: TrainState,
    totals: Totals,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    order: Int[Array, 'examples'],
    bounds: Int[Array, '2'] | None = None,
    *,
    batch_size: int,
) -> tuple[TrainState, Totals]:
    """Trains on consecutive batches of an epoch; for `devices.on_mesh`.

    Args:
      state: Parameters and optimizer state.
      totals: Sums of the epoch's earlier steps.
      images: The training set.
      labels: Its labels.
      order: Permutation of the examples.
      bounds: First batch and one past the last; all of the epoch if None.
      batch_size: Examples a step, over all devices.

    Returns:
      The new state and sums.
    """
    num_examples = len(labels)
    share = batch_size // lax.axis_size(DATA)

    def step(i: Int[Array, ''], carry: tuple[TrainState, Totals]):
        state, totals = carry
        positions = i * batch_size + lax.axis_index(DATA) * share + jnp.arange(share)
        # The last batch is filled up to the common shape with examples that do not count.
        chosen = order[positions % num_examples]
        mask = positions < num_examples
        state, batch = train_step(state, images[chosen], labels[chosen], mask)
        return state, jax.tree.map(jnp.add, totals, batch)

    if bounds is None:
        first, last = 0, steps_per_epoch(num_examples, batch_size)
    else:
        first, last = bounds
    state, own = lax.fori_loop(first, last, step, (state, metrics.no_totals()))
    return state, jax.tree.map(jnp.add, totals, lax.psum(own, DATA))


def train_step(
    state: TrainState,
    images: UInt8[Array, 'batch 28 28 1'],
    labels: Int[Array, 'batch'],
    mask: Bool[Array, 'batch'],
) -> tuple[TrainState, Totals]:
    """Takes one step of the optimizer on the mean loss of the examples in ``mask``.

    The mean is over all devices, each of which has a part of the batch; the totals
    returned are the device's own.
    """

    def summed_loss(params):
        logits = state.apply_fn({'params': params}, normalize(images))
        batch = metrics.totals(logits, labels, mask)
        return batch.loss, batch

    grads, batch = jax.grad(summed_loss, has_aux=True)(state.params)
    num_examples = batch.examples.astype(batch.loss.dtype)
    grads, num_examples = lax.psum((grads, num_examples), DATA)
    grads = jax.tree.map(lambda grad: grad / num_examples, grads)
    return state.apply_gradients(grads=grads), batch


def evaluate(
    mesh: Mesh,
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
) -> Totals:
    """Sums the loss and the correct predictions over every example."""
    # Two programs, so that one compilation of the network serves all who want its logits.
    return jax.jit(metrics.totals)(on_mesh(predict_logits, mesh)(state, images), labels)


def predict_logits(
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    *,
    batch_size: int | None = None,
) -> Float[Array, 'examples classes']:
    """Computes the logits of any number of images; for `on_mesh`.

    Args:
      state: The parameters.
      images: The images.
      batch_size: Images at a time on each device; chosen for the backend if None.

    Returns:
      The logits, on every device.
    """
    if batch_size is None:
        # With 50, what a core works on stays in its cache: on two cores 10,000 images take
        # 0.20 s, with 200 0.23 s and with 500 0.39 s.
        batch_size = 50 if jax.default_backend() == 'cpu' else 1000
    num_examples = len(images)
    num_batches = math.ceil(num_examples / (batch_size * lax.axis_size(DATA)))
    share = num_batches * batch_size
    # Filled up to the common shape with images whose logits are dropped.
    positions = lax.axis_index(DATA) * share + jnp.arange(share)
    batches = (positions % num_examples).reshape(num_batches, batch_size)
    logits = lax.map(
        lambda batch: state.apply_fn({'params': state.params}, normalize(images[batch])),
        batches,
    )
    logits = lax.all_gather(logits.reshape(share, -1), DATA, tiled=True)
    return logits[:num_examples]
