"""A config to the recipe that runs share, and the numbers that they may differ in."""

import json
import math
from collections.abc import Sequence, Set
from typing import Any

import flax.linen as nn
import ml_collections

from mnist_flax.common.constructors import construct, construct_named
from mnist_flax.common.errors import require
from mnist_flax.data import augment
from mnist_flax.models import calls
from mnist_flax.training import check_recipe, devices, objective, optimizers, run, sweeps
from mnist_flax.training.settings import Settings, to_tree
from mnist_flax.training.sweeps import Overrides

# The parts of a config that a recipe is made from.
_RECIPE = ('model', 'loss', 'optimizer', 'schedule', 'metrics', 'augment', 'ema_decay')


def create_recipe(
    config: ml_collections.ConfigDict, num_examples: int, traced: Set[str]
) -> run.Recipe:
    """Makes the parts of a recipe from a config.

    Args:
      config: The settings.
      num_examples: Of the training set.
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
    return run.Recipe(
        model=model,
        optimizer=optimizers.create_optimizer(
            settings.optimizer,
            settings.schedule,
            num_steps=settings.num_epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
        ),
        augment=_create_augment(settings.augment),
        ema_decay=settings.ema_decay,
        loss=loss,
        metrics=objective.create_step_metrics(settings.metrics, loss),
        log_every=settings.log_every_steps,
        configured=json.dumps([parts[name] for name in _RECIPE], sort_keys=True),
    )


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


def can_be_traced(
    config: ml_collections.ConfigDict, points: Sequence[Overrides], path: str
) -> bool:
    """Tells whether runs that differ in a swept field can share a program."""
    values = [point.get(path) for point in points]
    if not all(type(value) is float for value in values):
        return False
    if path == 'augment.strength':
        require(
            _create_augment(config.augment) is not None,
            f'config.sweep.{path}: there is no augmentation to sweep over; set an amount '
            'of config.augment, such as config.augment.shift=2',
        )
    if path in ('optimizer.learning_rate', 'augment.strength'):
        return True
    part, _, rest = path.partition('.')
    if path == 'model.dropout_rate':
        configs = [sweeps.override(config, {path: of}, 'config.sweep') for of in values]
        return check_recipe.takes_dropout_rate([create_model(of) for of in configs])
    if part not in ('loss', 'optimizer') or '.' in rest or rest == 'clip_norm':
        return False
    recipe = create_recipe(sweeps.override(config, points[0], 'config.sweep'), 1, set())
    return check_recipe.can_trace(recipe, path)


def read_hyperparams(
    config: ml_collections.ConfigDict, recipe: run.Recipe, traced: Set[str]
) -> dict[str, float]:
    """Reads the numbers that are not compiled in; some are 0 and not needed."""
    hyperparams = {'optimizer.learning_rate': float(config.optimizer.learning_rate)}
    if 'dropout' in calls.train_arguments(recipe.model, None, devices.DATA):
        hyperparams['model.dropout_rate'] = float(config.model.get('dropout_rate', 0.0))
    if recipe.augment is not None:
        hyperparams['augment.strength'] = float(config.augment.strength)
    for path in traced:
        part, _, name = path.partition('.')
        hyperparams[path] = float(config[part][name])
    return hyperparams
