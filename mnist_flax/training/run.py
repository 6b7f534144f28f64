"""One run as pure functions: initial state, and steps of training.

They know of exactly one run, and of one device's part of every batch; `population` makes
programs of them for several runs and devices.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, no_type_check

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8, UInt32

from mnist_flax.data.augment import Augment
from mnist_flax.data.datasets import normalize
from mnist_flax.models import Dropout, calls
from mnist_flax.recipe.objective import LOGGED, Loss, StepMetric, measure_step
from mnist_flax.recipe.optimizers import Optimizer
from mnist_flax.training import ema, gradients, metrics
from mnist_flax.training.devices import DATA
from mnist_flax.training.metrics import Totals

# Folded into a run's key for what is random within an epoch; epochs have the others.
_NOISE = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all runs of a program share; equal recipes share what is compiled."""

    model: nn.Module
    optimizer: Optimizer
    augment: Augment | None
    ema_decay: float  # of the moving average of the parameters that is tested; 0 for none
    image_shape: tuple[int, ...] = (28, 28, 1)  # height, width, channels
    loss: Loss = Loss()  # noqa: RUF009  # it is frozen
    metrics: tuple[StepMetric, ...] = ()  # measured in each step, beside loss and accuracy
    log_every: int = 0  # steps of an epoch between those that are logged; 0 for none
    microbatch_size: int = 0  # examples of a gradient, on a device; 0 for all of a batch
    # What the parts above were made from: those of another config may be equal as objects.
    configured: str = ''
    # The functions of a user's own among them: after a reload they are others.
    functions: tuple[Callable[..., Any], ...] = ()
    # Objects that other arguments of the loss, the optimizer and the metrics are, such as a
    # teacher: of the same path, a later one may be another.
    objects: tuple[int, ...] = ()  # their `id`; the parts keep them alive

    @property
    def metric_names(self) -> list[str]:
        """Names what is measured in each step."""
        return [metric.name for metric in self.metrics]

    @property
    def logged_names(self) -> list[str]:
        """Names what is measured in the steps that are logged."""
        return [metric.name for metric in LOGGED] if self.log_every else []


@no_type_check  # compiling fills it with descriptions of arrays
class TrainState(flax.struct.PyTreeNode):
    """All that changes while a run trains, and the numbers that make it this run."""

    step: Int[Array, '...']
    params: Any
    model_state: dict[str, Any]  # the model's other variable collections, by name
    ema: Any  # moving average of both, which starts from 0; None without
    opt_state: Any
    key: Key[Array, '...']  # from which a run draws all its randomness
    # Numbers that runs of a program may differ in, by their place in the config, such as
    # 'optimizer.learning_rate': the names settle what is compiled, the values do not.
    hyperparams: Mapping[str, Float[Array, '...']]


def init(
    seed: UInt32[Array, ''],
    hyperparams: Mapping[str, Float[Array, '']],
    *,
    recipe: Recipe,
) -> TrainState:
    """Draws a run's initial state."""
    init_key, key = jax.random.split(jax.random.key(seed))
    variables = recipe.model.init(
        init_key, jnp.zeros((1, *recipe.image_shape)), **calls.eval_arguments(recipe.model)
    )
    optimizer = recipe.optimizer.transformation(hyperparams)
    model_state = {name: of for name, of in variables.items() if name != 'params'}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables['params'],
        model_state=model_state,
        ema=ema.init(variables) if recipe.ema_decay else None,
        opt_state=optimizer.init(variables['params']),
        key=key,
        hyperparams=hyperparams,
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
    images: UInt8[Array, 'examples height width channels'],
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
    local_batch_size = batch_size // lax.axis_size(DATA)

    def step(i: Int[Array, ''], carry: tuple[TrainState, Totals]):
        state, totals = carry
        rows = lax.axis_index(DATA) * local_batch_size + jnp.arange(local_batch_size)
        positions = i * batch_size + rows
        # The last batch is filled up to the common shape with examples that do not count.
        chosen = order[positions % num_examples]
        mask = positions < num_examples
        is_logged = (i + 1) % recipe.log_every == 0 if recipe.log_every else None
        state, batch = train_step(
            state, images[chosen], labels[chosen], mask, rows, is_logged, recipe=recipe
        )
        return state, jax.tree.map(jnp.add, totals, batch)

    whole = 0, steps_per_epoch(num_examples, batch_size)
    first, last = whole if bounds is None else bounds
    nothing = metrics.no_totals(recipe.metric_names, recipe.logged_names)
    state, own = lax.fori_loop(first, last, step, (state, nothing))
    return state, jax.tree.map(jnp.add, totals, lax.psum(own, DATA))


def train_step(
    state: TrainState,
    images: UInt8[Array, 'local_batch height width channels'],
    labels: Int[Array, 'local_batch'],
    mask: Bool[Array, 'local_batch'],
    rows: Int[Array, 'local_batch'],
    is_logged: Bool[Array, ''] | None = None,
    *,
    recipe: Recipe,
) -> tuple[TrainState, Totals]:
    """Takes one step of the optimizer on the mean loss of the examples in ``mask``.

    The mean is over all devices, each of which has a part of the batch; the totals
    returned are the device's own.

    Args:
      state: The run.
      images: This device's part of the batch.
      labels: Its labels.
      mask: The examples that count.
      rows: Where in the batch they are; an example's random numbers depend on that alone,
        so that they are the same on any number of devices.
      is_logged: Whether to measure `LOGGED`; None for never.
      recipe: How to train.

    Returns:
      The new state, and the totals of the predictions made just before.
    """
    hyperparams = state.hyperparams
    key = jax.random.fold_in(jax.random.fold_in(state.key, _NOISE), state.step)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    augment_keys, dropout_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    inputs = normalize(images)
    if 'augment.strength' in hyperparams and recipe.augment:
        augment = jax.vmap(recipe.augment, (0, 0, None))
        inputs = augment(augment_keys, inputs, hyperparams['augment.strength'])
        inputs = lax.optimization_barrier(inputs)

    def summed_loss(params, inputs, labels, mask, dropout_keys):
        outputs, model_state = apply_in_training(
            recipe.model,
            {'params': params, **state.model_state},
            inputs,
            dropout_keys,
            hyperparams.get('model.dropout_rate'),
        )
        losses = recipe.loss(hyperparams, outputs, labels, inputs)
        return jnp.sum(losses, where=mask), ((losses, outputs), model_state)

    grads, ((losses, outputs), model_state) = gradients.add_up(
        jax.grad(summed_loss, has_aux=True),
        state.params,
        (inputs, labels, mask, dropout_keys),
        gradients.count_parts(len(labels), recipe.microbatch_size),
    )
    batch = metrics.totals(outputs.logits, labels, mask)
    num_examples = batch.examples.astype(batch.loss.dtype)
    grads, num_examples = lax.psum((grads, num_examples), DATA)
    grads = jax.tree.map(lambda grad: grad / num_examples, grads)
    optimizer = recipe.optimizer.transformation(hyperparams)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.ema
    if recipe.ema_decay:
        average = ema.update(average, {'params': params, **model_state}, recipe.ema_decay)
    new_state = state.replace(
        step=state.step + 1,
        params=params,
        model_state=model_state,
        ema=average,
        opt_state=opt_state,
    )
    of_step = {
        'logits': outputs.logits,
        'aux': outputs.aux,
        'labels': labels,
        'mask': mask,
        'losses': losses,
        'grads': grads,
        'updates': updates,
        'params': params,
    }
    others = measure_step(recipe.metrics, of_step, batch.examples)
    logged = {}
    if is_logged is not None:
        # In each step the norms would take 3 % of its time.
        logged = lax.cond(
            is_logged,
            lambda: measure_step(LOGGED, of_step, batch.examples / num_examples),
            lambda: dict.fromkeys(recipe.logged_names, jnp.zeros(())),
        )
    return new_state, batch._replace(others=others, logged=logged)


def apply_in_training(
    model: nn.Module,
    variables: dict[str, Any],
    inputs: Float[Array, 'local_batch height width channels'],
    dropout_keys: Key[Array, 'local_batch'],
    dropout_rate: Float[Array, ''] | None,
) -> tuple[calls.Outputs, dict[str, Any]]:
    """Calls a model on a device's part of a batch, in training mode.

    Args:
      model: Any linen module from images to logits.
      variables: Its parameters and other collections.
      inputs: The images.
      dropout_keys: A key for each example. The first one is also the source of the
        module's own random streams, such as those of `nn.Dropout`.
      dropout_rate: Of ``dropout``; None if it is not used.

    Returns:
      The outputs, and the new collections other than the parameters. Their numbers are
      averaged over the devices: those of a norm that is not told ``axis_name`` are of
      each device's own part of the batch.
    """
    dropout = None if dropout_rate is None else Dropout(dropout_keys, dropout_rate)
    returned, model_state = model.apply(
        variables,
        inputs,
        **calls.train_arguments(model, dropout, DATA),
        mutable=[name for name in variables if name != 'params'],
        rngs=dropout_keys[0],
    )
    model_state = jax.tree.map(_average_over_devices, dict(model_state))
    return calls.read_outputs(returned), model_state


def _average_over_devices(leaf):
    return lax.pmean(leaf, DATA) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf
