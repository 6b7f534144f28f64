"""One run as pure functions: initial state, steps of training, predictions.

They know of exactly one run, and of one device's share of every batch; `population` makes
programs of them for several runs and devices.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, no_type_check

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8, UInt32

from mnist_flax.training import metrics
from mnist_flax.data.augment import Augment
from mnist_flax.data.datasets import IMAGE_SHAPE, normalize
from mnist_flax.training.devices import DATA
from mnist_flax.training.metrics import Totals
from mnist_flax.models.cnn import Dropout
from mnist_flax.training.optimizers import Optimizer

# Folded into a run's key for what is random within an epoch; epochs have the others.
_NOISE = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all runs of a program share; equal recipes share what is compiled."""

    model: nn.Module
    optimizer: Optimizer
    augment: Augment | None
    ema_decay: float  # of the moving average of the parameters that is tested; 0 for none


@no_type_check  # compiling fills it with descriptions of arrays
class TrainState(flax.struct.PyTreeNode):
    """All that changes while a run trains, and the numbers that make it this run."""

    step: Int[Array, '...']
    params: Any
    batch_stats: Any  # of batch norm; empty without
    average: Any  # moving average of both, which starts from 0; None without
    opt_state: Any
    key: Key[Array, '...']  # from which a run draws all its randomness
    # learning_rate, and those of weight_decay, label_smoothing, dropout_rate and
    # augment_strength that are in use: the names settle what is compiled, the values not.
    hyperparameters: Mapping[str, Float[Array, '...']]


def init(
    seed: UInt32[Array, ''],
    hyperparameters: Mapping[str, Float[Array, '']],
    *,
    recipe: Recipe,
) -> TrainState:
    """Draws a run's initial state."""
    init_key, key = jax.random.split(jax.random.key(seed))
    variables = recipe.model.init(init_key, jnp.zeros((1, *IMAGE_SHAPE)))
    variables = {'batch_stats': {}, **variables}
    optimizer = recipe.optimizer.transformation(hyperparameters)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        batch_stats=variables['batch_stats'],
        average=jax.tree.map(jnp.zeros_like, variables) if recipe.ema_decay else None,
        opt_state=optimizer.init(variables['params']),
        key=key,
        hyperparameters=hyperparameters,
    )


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Counts the batches of an epoch, the last of which may be smaller."""
    return math.ceil(num_examples / batch_size)


def epoch_order(
    state: TrainState, *, num_examples: int, batch_size: int
) -> Int[Array, 'examples']:
    """Draws the random order of the epoch that ``state`` is about to begin."""
    epoch = state.step // steps_per_epoch(num_examples, batch_size)
    return jax.random.permutation(jax.random.fold_in(state.key, epoch), num_examples)


def train_steps(
    state: TrainState,
    totals: Totals,
    order: Int[Array, 'examples'],
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    bounds: Int[Array, '2'] | None = None,
    *,
    recipe: Recipe,
    batch_size: int,
) -> tuple[TrainState, Totals]:
    """Trains on consecutive batches of an epoch.

    Args:
      state: The run.
      totals: Sums of the epoch's earlier steps.
      order: Permutation of the examples.
      images: The training set.
      labels: Its labels.
      bounds: First batch and one past the last; all of the epoch if None.
      recipe: How to train.
      batch_size: Examples a step, over all devices.

    Returns:
      The new state and sums.
    """
    num_examples = len(labels)
    share = batch_size // lax.axis_size(DATA)

    def step(i: Int[Array, ''], carry: tuple[TrainState, Totals]):
        state, totals = carry
        rows = lax.axis_index(DATA) * share + jnp.arange(share)
        positions = i * batch_size + rows
        # The last batch is filled up to the common shape with examples that do not count.
        chosen = order[positions % num_examples]
        mask = positions < num_examples
        state, batch = train_step(
            state, images[chosen], labels[chosen], mask, rows, recipe=recipe
        )
        return state, jax.tree.map(jnp.add, totals, batch)

    if bounds is None:
        first, last = 0, steps_per_epoch(num_examples, batch_size)
    else:
        first, last = bounds
    state, own = lax.fori_loop(first, last, step, (state, metrics.no_totals()))
    return state, jax.tree.map(jnp.add, totals, lax.psum(own, DATA))


def train_step(
    state: TrainState,
    images: UInt8[Array, 'share 28 28 1'],
    labels: Int[Array, 'share'],
    mask: Bool[Array, 'share'],
    rows: Int[Array, 'share'],
    *,
    recipe: Recipe,
) -> tuple[TrainState, Totals]:
    """Takes one step of the optimizer on the mean loss of the examples in ``mask``.

    The mean is over all devices, each of which has a part of the batch; the totals
    returned are the device's own.

    Args:
      state: The run.
      images: This device's share of the batch.
      labels: Its labels.
      mask: The examples that count.
      rows: Where in the batch they are; an example's random numbers depend on that alone,
        so that they are the same on any number of devices.
      recipe: How to train.

    Returns:
      The new state, and the totals of the predictions made just before.
    """
    numbers = state.hyperparameters
    key = jax.random.fold_in(jax.random.fold_in(state.key, _NOISE), state.step)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    augment_keys, dropout_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    inputs = normalize(images)
    if 'augment_strength' in numbers and recipe.augment:
        augment = jax.vmap(recipe.augment, (0, 0, None))
        inputs = augment(augment_keys, inputs, numbers['augment_strength'])
        inputs = lax.optimization_barrier(inputs)
    dropout = None
    if 'dropout_rate' in numbers:
        dropout = Dropout(dropout_keys, numbers['dropout_rate'])

    def summed_loss(params):
        logits, updated = recipe.model.apply(
            {'params': params, 'batch_stats': state.batch_stats},
            inputs,
            train=True,
            dropout=dropout,
            mutable=['batch_stats'],
        )
        losses = metrics.losses(logits, labels, numbers.get('label_smoothing'))
        batch = metrics.totals(logits, labels, mask)
        return jnp.sum(losses, where=mask), (batch, updated.get('batch_stats', {}))

    grads, (batch, batch_stats) = jax.grad(summed_loss, has_aux=True)(state.params)
    num_examples = batch.examples.astype(batch.loss.dtype)
    grads, num_examples = lax.psum((grads, num_examples), DATA)
    grads = jax.tree.map(lambda grad: grad / num_examples, grads)
    optimizer = recipe.optimizer.transformation(numbers)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if recipe.ema_decay:
        variables = {'params': params, 'batch_stats': batch_stats}
        average = optax.tree.update_moment(variables, average, recipe.ema_decay, order=1)
    new_state = state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        average=average,
        opt_state=opt_state,
    )
    return new_state, batch


def variables_to_test(state: TrainState, ema_decay: float) -> dict[str, Any]:
    """Picks what predictions are made with: the moving average, if there is one."""
    if not ema_decay:
        return {'params': state.params, 'batch_stats': state.batch_stats}
    # Divided by the sum of its weights, as Adam's moments are; after no step they are 0.
    steps = jnp.maximum(state.step, 1)
    return optax.tree.bias_correction(state.average, ema_decay, steps)


def predict_logits(
    state: TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    *,
    recipe: Recipe,
    batch_size: int | None = None,
) -> Float[Array, 'examples classes']:
    """Computes the logits of any number of images.

    Args:
      state: The run.
      images: The images.
      recipe: Its model.
      batch_size: Images at a time on each device; chosen for the backend if None.

    Returns:
      The logits, on every device.
    """
    if batch_size is None:
        # With 50, what a core works on stays in its cache: on two cores 10,000 images take
        # 0.20 s, with 200 0.23 s and with 500 0.39 s.
        batch_size = 50 if jax.default_backend() == 'cpu' else 1000
    variables = variables_to_test(state, recipe.ema_decay)
    num_examples = len(images)
    num_batches = math.ceil(num_examples / (batch_size * lax.axis_size(DATA)))
    share = num_batches * batch_size
    # Filled up to the common shape with images whose logits are dropped.
    positions = lax.axis_index(DATA) * share + jnp.arange(share)
    batches = (positions % num_examples).reshape(num_batches, batch_size)
    logits = lax.map(
        lambda batch: recipe.model.apply(variables, normalize(images[batch])), batches
    )
    logits = lax.all_gather(logits.reshape(share, -1), DATA, tiled=True)
    return logits[:num_examples]
