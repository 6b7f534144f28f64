"""One run as pure functions: initial state, an epoch of training, evaluation."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, UInt8

from mnist_flax import metrics
from mnist_flax.data import IMAGE_SHAPE, normalize
from mnist_flax.metrics import Totals

# The compiled program of an epoch is called on this many slices of its steps, so that a
# progress bar moves and Ctrl-C is answered within a second on a CPU.
SLICES_PER_EPOCH = 20


class TrainState(train_state.TrainState):
    """Flax's training state with the key from which a run draws all its randomness."""

    params: Any  # a dict of arrays; Flax's annotation still says FrozenDict
    key: Key[Array, '...']


@functools.partial(jax.jit, static_argnames=('model', 'optimizer'))
def create_train_state(
    model: nn.Module, optimizer: optax.GradientTransformation, key: PRNGKeyArray
) -> TrainState:
    """Initialises the parameters and the optimizer's state."""
    init_key, key = jax.random.split(key)
    params = model.init(init_key, jnp.zeros((1, *IMAGE_SHAPE)))['params']
    return TrainState.create(apply_fn=model.apply, params=params, tx=optimizer, key=key)


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Counts the batches of an epoch, the last of which may be smaller."""
    return math.ceil(num_examples / batch_size)


def train_epoch(
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    batch_size: int,
    on_progress: Callable[[int, Totals], None] = lambda num_steps, totals: None,
) -> tuple[TrainState, Totals]:
    """Trains on every example once, in a new random order.

    Args:
      state: The state after a whole number of epochs.
      images: The training set.
      labels: Its labels.
      batch_size: Examples a step.
      on_progress: Called now and then with the number of steps done since the last call
        and the totals of the epoch so far.

    Returns:
      The new state, and the totals of the predictions made just before each step.
    """
    num_steps = steps_per_epoch(len(labels), batch_size)
    order = epoch_order(state, len(labels), batch_size)
    totals = _no_totals()
    for i in range(SLICES_PER_EPOCH):
        first, last = (num_steps * j // SLICES_PER_EPOCH for j in (i, i + 1))
        state, totals = train_steps(
            state, totals, images, labels, order, first, last, batch_size=batch_size
        )
        jax.block_until_ready(totals)
        on_progress(last - first, totals)
    return state, totals


def compile_epoch(
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    batch_size: int,
) -> None:
    """Compiles what `train_epoch` runs, by training for no steps."""
    order = epoch_order(state, len(labels), batch_size)
    totals = _no_totals()
    train_steps(state, totals, images, labels, order, 0, 0, batch_size=batch_size)


@functools.partial(jax.jit, static_argnames=('num_examples', 'batch_size'))
def epoch_order(
    state: TrainState, num_examples: int, batch_size: int
) -> Int[Array, 'examples']:
    """Draws the random order of the epoch that ``state`` is about to begin."""
    epoch = state.step // steps_per_epoch(num_examples, batch_size)
    return jax.random.permutation(jax.random.fold_in(state.key, epoch), num_examples)


@functools.partial(jax.jit, static_argnames='batch_size')
def train_steps(
    state: TrainState,
    totals: Totals,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    order: Int[Array, 'examples'],
    first: int | Int[Array, ''],
    last: int | Int[Array, ''],
    *,
    batch_size: int,
) -> tuple[TrainState, Totals]:
    """Trains on the batches ``first`` to ``last - 1`` of an epoch, as one program.

    Args:
      state: Parameters and optimizer state.
      totals: Sums of the epoch's earlier steps.
      images: The training set.
      labels: Its labels.
      order: Permutation of the examples.
      first: First batch; traced, so that all slices of an epoch share one compilation.
      last: One past the last batch.
      batch_size: Examples a step.

    Returns:
      The new state and sums.
    """
    # The last batch is filled up to the common shape with examples that do not count.
    num_examples = len(labels)
    num_steps = steps_per_epoch(num_examples, batch_size)
    positions = jnp.arange(num_steps * batch_size)
    batches = order[positions % num_examples].reshape(num_steps, batch_size)
    mask = (positions < num_examples).reshape(num_steps, batch_size)

    def step(i: Int[Array, ''], carry: tuple[TrainState, Totals]):
        state, totals = carry
        return train_step(state, totals, images[batches[i]], labels[batches[i]], mask[i])

    return lax.fori_loop(first, last, step, (state, totals))


def train_step(
    state: TrainState,
    totals: Totals,
    images: UInt8[Array, 'batch 28 28 1'],
    labels: Int[Array, 'batch'],
    mask: Bool[Array, 'batch'],
) -> tuple[TrainState, Totals]:
    """Takes one step of the optimizer on the mean loss of the examples in ``mask``."""

    def mean_loss(params):
        logits = state.apply_fn({'params': params}, normalize(images))
        batch = metrics.totals(logits, labels, mask)
        return batch.loss / batch.examples, batch

    grads, batch = jax.grad(mean_loss, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads), jax.tree.map(jnp.add, totals, batch)


@jax.jit
def evaluate(
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
) -> Totals:
    """Sums the loss and the correct predictions over every example."""
    return metrics.totals(predict_logits(state, images), labels)


@functools.partial(jax.jit, static_argnames='batch_size')
def predict_logits(
    state: TrainState, images: UInt8[Array, 'examples 28 28 1'], batch_size: int = 100
) -> Float[Array, 'examples classes']:
    """Computes the logits of any number of images, ``batch_size`` at a time."""
    num_examples = len(images)
    num_batches = math.ceil(num_examples / batch_size)
    missing = num_batches * batch_size - num_examples
    padded = jnp.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])
    logits = lax.map(
        lambda batch: state.apply_fn({'params': state.params}, normalize(batch)),
        padded.reshape(num_batches, batch_size, *IMAGE_SHAPE),
    )
    return logits.reshape(num_batches * batch_size, -1)[:num_examples]


def _no_totals() -> Totals:
    return Totals(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
