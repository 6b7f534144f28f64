"""A config to the recipe that runs share, and the numbers that they may differ in."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any

import flax.linen as nn
import ml_collections

from mnist_flax.common import backend
from mnist_flax.common.constructors import construct, construct_named, find_constructor
from mnist_flax.common.errors import require
from mnist_flax.data import augment, datasets
from mnist_flax.models import CNN, calls
from mnist_flax.recipe import losses, objective, optimizers
from mnist_flax.training import check_recipe, devices, gradients, run
from mnist_flax.training.settings import Settings, to_tree
from mnist_flax.training.sweeps import Overrides

# The parts of a config that a recipe is made from.
_RECIPE = ('model', 'loss', 'optimizer', 'schedule', 'metrics', 'augment', 'ema_decay')


def create_recipe(
    config: ml_collections.ConfigDict,
    num_examples: int,
    image_shape: tuple[int, ...],
    traced: Set[str],
) -> run.Recipe:
    """Makes the parts of a recipe from a config.

    Args:
      config: The settings.
      num_examples: Of the training set.
      image_shape: Height, width and channels of its images.
      traced: Paths of the numbers that a sweep varies within a program.

    Raises:
      UserError: A part cannot be made.
    """
    settings = construct(Settings, config, 'config')
    steps_per_epoch = run.steps_per_epoch(num_examples, settings.batch_size)
    model = create_model(config)
    loss = objective.create_loss(settings.loss)
    variable = {'optimizer.learning_rate', 'augment.strength', *traced}
    if 'dropout' in calls.train_arguments(model, None, devices.DATA):
        variable.add('model.dropout_rate')
    parts = remove(to_tree(config), variable)
    optimizer = optimizers.create_optimizer(
        settings.optimizer,
        settings.schedule,
        num_steps=settings.num_epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
    )
    metrics = objective.create_step_metrics(
        settings.metrics, loss, any(path.startswith('loss.') for path in traced)
    )
    return run.Recipe(
        model=model,
        optimizer=optimizer,
        augment=_create_augment(settings.augment),
        ema_decay=settings.ema_decay,
        image_shape=image_shape,
        loss=loss,
        metrics=metrics,
        log_every=settings.log_every_steps,
        microbatch_size=settings.microbatch_size
        or _choose_microbatch_size(model, loss, settings.batch_size),
        configured=json.dumps([parts[name] for name in _RECIPE], sort_keys=True),
        functions=list_functions(config),
        objects=tuple(_list_objects([loss, optimizer, *metrics])),
    )


def _choose_microbatch_size(model: nn.Module, loss: objective.Loss, batch_size: int) -> int:
    """Chooses for a CPU, if the parts of a batch have nothing to do with each other."""
    is_ours = type(model) is CNN and not model.batch_norm
    is_ours &= loss.function.__module__ == losses.__name__
    is_large = batch_size > gradients.UNDIVIDED and backend.platform() == 'cpu'
    return gradients.CPU_MICROBATCH_SIZE if is_ours and is_large else 0


def _list_objects(parts: Iterable[Any]) -> Iterator[int]:
    """Lists arguments that are no plain values, but what a constructor has returned."""
    for part in parts:
        for value in part.arguments.values():
            if not isinstance(value, int | float | str | tuple | None):
                yield id(value)


def list_functions(config: ml_collections.ConfigDict) -> tuple[Callable[..., Any], ...]:
    """Lists the functions that a recipe's config names with their modules."""
    return tuple(_list_functions([config[name] for name in _RECIPE]))


def _list_functions(parts: Iterable[Any]) -> Iterator[Callable[..., Any]]:
    """Lists the functions that parts of a config name with their modules."""
    for part in parts:
        if isinstance(part, ml_collections.ConfigDict):
            if '.' in part.get('constructor', ''):
                yield find_constructor(part, 'config')[0]
            yield from _list_functions(part.values())


def create_model(config: ml_collections.ConfigDict) -> nn.Module:
    """Makes the network of ``config.model``."""
    model = construct_named(config.model, 'config.model')
    require(
        isinstance(model, nn.Module),
        f'config.model.constructor: it returns {model!r}; it must return a '
        'flax.linen.Module',
    )
    return model


def remove(tree: Any, paths: Set[str], prefix: str = '') -> Any:
    """Returns a config, as plain values, without some fields."""
    if not isinstance(tree, dict):
        return tree
    return {
        name: remove(value, paths, f'{prefix}{name}.')
        for name, value in tree.items()
        if f'{prefix}{name}' not in paths
    }


def _create_augment(settings: ml_collections.ConfigDict) -> augment.Augment | None:
    path = 'config.augment'
    require('strength' in settings, f'{path}.strength is missing; allowed: a number')
    fields = settings.to_dict()
    strength = fields.pop('strength')
    require(
        type(strength) in (float, int) and 0 <= strength < math.inf,
        f'{path}.strength: found {strength!r}; allowed: 0 or more',
    )
    return construct_named(ml_collections.ConfigDict(fields), path)


def find_numbers(points: Sequence[Overrides]) -> set[str]:
    """Lists the paths that a sweep varies and that may not need to be compiled in."""
    return {
        path
        for path in points[0]
        if all(type(point[path]) is float for point in points)
        and (
            path in ('augment.strength', 'model.dropout_rate')
            or (path.startswith(('loss.', 'optimizer.')) and path.count('.') == 1)
        )
        and path != 'optimizer.clip_norm'  # 0 stands for another program
    }


def find_traced(
    configs: Sequence[ml_collections.ConfigDict],
    numbers: Set[str],
    dataset: datasets.Dataset,
) -> set[str]:
    """Finds in which numbers runs may differ that share a program.

    Args:
      configs: The settings of combinations that differ in ``numbers`` alone.
      numbers: Paths.
      dataset: Their data.

    Raises:
      UserError: A part cannot be made, or there is no augmentation to sweep over.
    """
    if len(configs) == 1:
        return set()
    num_examples, *image_shape = dataset.train.images.shape
    recipe = create_recipe(configs[0], num_examples, tuple(image_shape), set())
    traced = set()
    for path in numbers:
        if path == 'model.dropout_rate':
            models = [create_model(config) for config in configs]
            can_share = check_recipe.takes_dropout_rate(models, recipe.image_shape)
        elif path == 'augment.strength':
            require(
                recipe.augment is not None,
                f'config.sweep.{path}: there is no augmentation to sweep over; set an '
                'amount of config.augment, such as config.augment.shift=2',
            )
            can_share = True
        else:
            can_share = path == 'optimizer.learning_rate' or check_recipe.can_trace(
                recipe, path
            )
        if can_share:
            traced.add(path)
    return traced


def read_hyperparams(
    config: ml_collections.ConfigDict, recipe: run.Recipe, traced: Set[str]
) -> dict[str, float]:
    """Reads the numbers that are not compiled in; some are 0 and not needed."""
    hyperparams = {'optimizer.learning_rate': float(config.optimizer.learning_rate)}
    if 'dropout' in calls.train_arguments(recipe.model, None, devices.DATA):
        rate = config.model.get('dropout_rate') or 0.0
        require(
            isinstance(rate, int | float) and 0 <= rate < 1,
            f'config.model.dropout_rate: found {rate!r}; allowed: 0 to less than 1',
        )
        hyperparams['model.dropout_rate'] = float(rate)
    if recipe.augment is not None:
        hyperparams['augment.strength'] = float(config.augment.strength)
    for path in traced:
        part, _, name = path.partition('.')
        hyperparams[path] = float(config[part][name])
    return hyperparams
