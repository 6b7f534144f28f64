"""Whether the parts of a recipe fit each other, the data and the memory."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnist_flax.common.errors import UserError, explain, locate, require
from mnist_flax.data import datasets
from mnist_flax.models import calls
from mnist_flax.recipe import objective
from mnist_flax.training import run
from mnist_flax.training.devices import DATA

_LABELS = jax.ShapeDtypeStruct((2,), 'int32')  # of the two images that the parts are given


def check_recipe(
    recipe: run.Recipe, used: Collection[str], dataset: datasets.Dataset, memory: float
) -> None:
    """Calls each part of a recipe once, without computing anything.

    Args:
      recipe: The parts.
      used: Names of the hyperparameters, see `run.TrainState`.
      dataset: What they are for.
      memory: Bytes on each device.

    Raises:
      UserError: One of them fails, gives another shape than it should, or the network is
        too large.
    """
    model = recipe.model
    images = jax.ShapeDtypeStruct((2, *recipe.image_shape), 'float32')

    def evaluate(images: Any) -> Any:
        arguments = calls.eval_arguments(model)
        variables = model.init(jax.random.key(0), images, **arguments)
        outputs = calls.read_outputs(model.apply(variables, images, **arguments))
        return outputs.logits, variables

    logits, variables = _try(evaluate, 'config.model', images)
    params = variables['params']
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)]
    # The least that training takes: 4 bytes for each, its gradient and two moments.
    needed = 16 * sum(sizes)
    require(
        needed <= memory,
        f'config.model: {sum(sizes):,} parameters take {needed / 2**30:,.1f} GiB with '
        f'gradients and moments, but there are only {memory / 2**30:.1f} GiB; make the '
        'model smaller',
    )
    _check_logits(logits, dataset, 'config.model')

    outputs, new_state = _try(
        lambda *of: _train(model, used, *of), 'config.model, in training', variables, images
    )
    _check_logits(outputs.logits, dataset, 'config.model, in training')
    state = _without_params(variables)
    require(  # as they are described, not as they are: JAX's types may be weak
        _describe(new_state) == _describe(state),
        f'config.model: training turns its collections {_describe(state)} into '
        f'{_describe(new_state)}; they must keep their names, shapes and types',
    )
    _check_augment(recipe, images)
    hyperparams = {name: jax.ShapeDtypeStruct((), 'float32') for name in used}
    losses = _try(recipe.loss, 'config.loss', hyperparams, outputs, _LABELS, images)
    require(
        getattr(losses, 'shape', None) == (2,),
        f'config.loss: {locate(recipe.loss.function)} returns {_describe(losses)} for 2 '
        'examples; it must return one number for each, of shape (2,)',
    )
    updates, _ = _try(_update(recipe), 'config.optimizer', hyperparams, params)
    require(
        _describe(updates) == _describe(params),
        f'config.optimizer: {locate(recipe.optimizer.constructor)} gives updates of the '
        f'form {_describe(updates)[:200]}, which is not that of the parameters',
    )
    for metric in recipe.metrics:
        offered = {
            'logits': outputs.logits, 'aux': outputs.aux, 'labels': _LABELS,
            'mask': jax.ShapeDtypeStruct((2,), 'bool'), 'losses': losses, 'grads': params,
            'updates': params, 'params': params,
        }  # fmt: skip
        path = f'config.metrics.{metric.name}'
        value = _try(lambda of, metric=metric: metric(of), path, offered)
        require(
            getattr(value, 'shape', None) == (),
            f'{path}: {locate(metric.function)} returns {_describe(value)}; it must return '
            'one number',
        )


def _check_augment(recipe: run.Recipe, images: Any) -> None:
    transform = recipe.augment
    if transform is None:
        return

    def change(images: Any) -> Any:
        keys = jax.random.split(jax.random.key(0), 2)
        return jax.vmap(transform, (0, 0, None))(keys, images, jnp.float32(1))

    changed = _try(change, 'config.augment', images)
    require(
        changed.shape == images.shape,
        f'config.augment: images have the shape {changed.shape[1:]} after the '
        f'augmentation; they must keep {recipe.image_shape}',
    )


def check_loss(
    recipe: run.Recipe, hyperparams: Mapping[str, float], dataset: datasets.Dataset
) -> None:
    """Calls the loss with the numbers of a run, and logits like those of a new network.

    Args:
      recipe: Has the loss.
      hyperparams: See `run.TrainState`.
      dataset: What it is for.

    Raises:
      UserError: A number makes no sense to the loss, or it is not finite.
    """
    if recipe.loss.takes_aux:  # which only a model can give
        return
    num_classes = len(dataset.class_names)
    # NumPy's, which need not be compiled: JAX's would take a second of the first start.
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(8, num_classes)), 'float32')
    labels = jnp.asarray(np.arange(8) % num_classes, 'int32')
    images = jnp.asarray(np.zeros((8, *recipe.image_shape)), 'float32')
    given = calls.Outputs(logits), labels, images
    if recipe.loss.function.__module__ == objective.LOSSES:
        _try(lambda: recipe.loss(hyperparams, *given), 'config.loss')
        return

    def summed(logits: Any) -> Any:
        return jnp.sum(recipe.loss(hyperparams, calls.Outputs(logits), labels, images))

    value, gradient = _call(jax.value_and_grad(summed), 'config.loss', logits)
    require(
        bool(np.isfinite(value) & np.isfinite(gradient).all()),
        f'config.loss: {locate(recipe.loss.function)} or its gradient is not finite for '
        'logits that are random numbers from a normal distribution',
    )


def takes_dropout_rate(models: Sequence[nn.Module], image_shape: tuple[int, ...]) -> bool:
    """Tells whether models that differ in their dropout rate are the same program.

    They are if they take ``dropout`` with each batch. Those that keep the rate for
    themselves are not: sharing a program, all runs would have the rate of the first.
    """
    images = jnp.zeros((2, *image_shape))

    def trace(model: nn.Module) -> str:
        used = ['model.dropout_rate']
        program = jax.make_jaxpr(lambda images: _init_and_train(model, used, images))(
            images
        )
        return re.sub('0x[0-9a-f]+', '', f'{program} {program.consts}')  # addresses

    takes_dropout = 'dropout' in calls.train_arguments(models[0], None, DATA)
    return takes_dropout and len({trace(model) for model in models}) == 1


def can_trace(recipe: run.Recipe, path: str) -> bool:
    """Tells whether a number of the loss or of the optimizer need not be compiled in."""
    number = jax.ShapeDtypeStruct((), 'float32')
    hyperparams = {'optimizer.learning_rate': number, path: number}
    images = jax.ShapeDtypeStruct((2, *recipe.image_shape), 'float32')
    try:
        (outputs, _), params = jax.eval_shape(
            lambda images: _init_and_train(recipe.model, [], images), images
        )
        if path.startswith('loss.'):
            jax.eval_shape(recipe.loss, hyperparams, outputs, _LABELS, images)
        else:
            jax.eval_shape(_update(recipe), hyperparams, params)
    except Exception:  # such as that of `if number > 0`; other mistakes are told later
        return False
    return True


def _update(recipe: run.Recipe) -> Callable[..., Any]:
    def update(hyperparams: Any, params: Any) -> Any:
        optimizer = recipe.optimizer.transformation(hyperparams)
        return optimizer.update(params, optimizer.init(params), params)

    return update


def _init_and_train(model: nn.Module, used: Collection[str], images: Any) -> Any:
    """Returns what `_train` does, and the parameters."""
    variables = model.init(jax.random.key(0), images, **calls.eval_arguments(model))
    return _train(model, used, variables, images), variables['params']


def _train(model: nn.Module, used: Collection[str], variables: Any, images: Any) -> Any:
    """Calls a model in training.

    Returns:
      The outputs, and the collections other than the parameters.
    """
    keys = jax.random.split(jax.random.key(0), 2)
    rate = jnp.float32(0) if 'model.dropout_rate' in used else None
    outputs, new_state = jax.vmap(  # a device of one
        lambda images: run.apply_in_training(model, dict(variables), images, keys, rate),
        axis_name=DATA,
    )(images[None])
    return jax.tree.map(lambda leaf: leaf[0], (outputs, new_state))


def _without_params(variables: Any) -> dict[str, Any]:
    return {name: of for name, of in variables.items() if name != 'params'}


def _check_logits(logits: Any, dataset: datasets.Dataset, path: str) -> None:
    num_classes = len(dataset.class_names)
    require(
        getattr(logits, 'shape', None) == (2, num_classes),
        f'{path}: the model returns {_describe(logits)} for 2 images; it must return '
        f'logits of shape (2, {num_classes}), as {dataset.full_name} has {num_classes} '
        'classes (config.model.num_classes)',
    )


def _describe(tree: Any) -> str:
    described = jax.tree.map(
        lambda leaf: f'{leaf.dtype}{list(leaf.shape)}' if hasattr(leaf, 'shape') else leaf,
        tree,
    )
    return str(described).replace("'", '')


def _try(function: Callable[..., Any], path: str, *arguments: Any) -> Any:
    return _call(lambda *of: jax.eval_shape(function, *of), path, *arguments)


def _call(function: Callable[..., Any], path: str, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:  # the code is a user's, who may have made any mistake
        raise UserError(
            f'{path}: calling it fails ({explain(error)}); docs/research.md says how each '
            'part is called'
        ) from error
