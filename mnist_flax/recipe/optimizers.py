"""The optimizer, built from ``config.optimizer`` and ``config.schedule``."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jaxtyping import Array, Float

from mnist_flax.common.constructors import (
    construct,
    find_constructor,
    read_arguments,
)
from mnist_flax.common.errors import UserError, explain, locate, require

_SCHEDULES = 'mnist_flax.recipe.schedules'


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What all runs of a program share of their optimizer."""

    constructor: Callable[..., Any]  # of Optax, or of your own
    arguments: dict[str, Any] = dataclasses.field(compare=False)  # as the config has them
    clip_norm: float  # largest norm of a gradient, over all parameters; 0 = any
    schedule_of: Callable[[int], optax.Schedule] = dataclasses.field(compare=False)
    schedule: optax.Schedule = dataclasses.field(compare=False)  # of a learning rate of 1
    num_steps: int  # of the whole training
    steps_per_epoch: int

    def transformation(
        self, hyperparams: Mapping[str, Float[Array, ''] | float]
    ) -> Any:  # Optax's transformation, if the constructor is right
        """Makes Optax's transformation for the numbers of one run.

        Args:
          hyperparams: ``'optimizer.learning_rate'``, and other arguments that are traced.
        """
        peak, schedule = hyperparams['optimizer.learning_rate'], self.schedule
        traced = {
            name: hyperparams[f'optimizer.{name}']
            for name in self.arguments
            if f'optimizer.{name}' in hyperparams
        }
        optimizer = self.constructor(
            learning_rate=lambda step: peak * schedule(step), **(self.arguments | traced)
        )
        if self.clip_norm:
            return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)
        return optimizer

    def depends_on_length(self) -> bool:
        """Tells whether a longer training would have other learning rates early on."""
        try:
            longer = _sample(self.schedule_of(2 * self.num_steps), self.num_steps)
        except UserError:
            return True
        return not np.array_equal(longer, _sample(self.schedule, self.num_steps))


def create_optimizer(
    settings: ml_collections.ConfigDict,
    schedule: ml_collections.ConfigDict,
    num_steps: int,
    steps_per_epoch: int,
) -> Optimizer:
    """Makes an optimizer from ``config.optimizer`` and ``config.schedule``.

    ``constructor`` is a function of Optax or of your own that returns Optax's
    `GradientTransformation`. It gets ``learning_rate``, as Optax has it a function from the
    step, and the other fields. Biases and the scales of norms are not decayed where an
    optimizer takes ``weight_decay_mask``, or ``mask`` beside ``weight_decay``: that is
    `kernels` unless the config has another.

    Args:
      settings: ``constructor``, ``learning_rate`` (the highest one of the run),
        ``clip_norm`` (0 and absent are none), and arguments of the constructor.
      schedule: See `schedules`.
      num_steps: Steps of the whole training.
      steps_per_epoch: Steps of an epoch.

    Raises:
      UserError: A field is unknown or makes no sense, or there is no weight decay.
    """
    path = 'config.optimizer'
    constructor, fields = find_constructor(settings, path, home='optax')
    parameters = inspect.signature(constructor).parameters
    require(
        'learning_rate' in parameters,
        f'{path}.constructor: {locate(constructor)} has no argument learning_rate',
    )
    require(
        'schedule_free' not in settings.constructor,
        f'{path}.constructor: {settings.constructor!r} needs other parameters in tests '
        'than in training, which are not computed here; use another one',
    )
    learning_rate = fields.pop('learning_rate', None)
    require(
        _is_number(learning_rate) and learning_rate > 0,
        f'{path}.learning_rate: found {learning_rate}; allowed: a positive, finite number',
    )
    clip_norm = fields.pop('clip_norm', 0.0)
    for name, value in ('clip_norm', clip_norm), *fields.items():
        require(
            name not in ('clip_norm', 'weight_decay') or (_is_number(value) and value >= 0),
            f'{path}.{name}: found {value}; allowed: 0 or more',
        )
    if 'weight_decay' not in parameters:
        require(
            not fields.pop('weight_decay', 0.0),
            f'{path}.weight_decay: {settings.constructor!r} has no weight decay; use 0, or '
            "an optimizer with it, such as 'adamw'",
        )
    arguments = read_arguments(constructor, fields, path, ('learning_rate',))
    if 'weight_decay_mask' in parameters:
        arguments.setdefault('weight_decay_mask', kernels)
    elif {'weight_decay', 'mask'} <= parameters.keys():
        arguments.setdefault('mask', kernels)
    schedule_of = functools.partial(create_schedule, schedule, steps_per_epoch)
    return Optimizer(
        constructor,
        arguments,
        float(clip_norm),
        schedule_of,
        schedule_of(num_steps),
        num_steps,
        steps_per_epoch,
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def create_schedule(
    settings: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int
) -> optax.Schedule:
    """Makes the schedule of a learning rate of 1 from ``config.schedule``.

    Args:
      settings: See `schedules`.
      steps_per_epoch: Steps of an epoch.
      num_steps: Steps of the whole training.

    Raises:
      UserError: There is no such schedule, or it does not give a factor for each step.
    """
    path = 'config.schedule'
    constructor, fields = find_constructor(settings, path, home=_SCHEDULES)
    schedule = construct(
        constructor, fields, path, num_steps=num_steps, steps_per_epoch=steps_per_epoch
    )
    if constructor.__module__ == _SCHEDULES:
        return schedule
    try:
        factors = _sample(schedule, num_steps)
    except Exception as error:  # the function is a user's
        raise UserError(
            f'{path}: {locate(constructor)} must return a function from the step, which '
            f'may be traced, to a factor ({explain(error)})'
        ) from error
    require(
        factors.ndim == 1 and bool(np.isfinite(factors).all() and factors.min() >= 0),
        f'{path}: the schedule of {locate(constructor)} must give one finite factor, of '
        '0 or more, for each step',
    )
    return schedule


def _sample(schedule: optax.Schedule, num_steps: int) -> np.ndarray:
    steps = np.unique(np.linspace(0, num_steps - 1, 1000).astype(np.int32))
    return np.asarray(jax.jit(jax.vmap(lambda i: jnp.asarray(schedule(i))))(steps))


def kernels(params: Any) -> Any:
    """Marks what weight decay applies to: not biases, nor the scales of norms."""

    def is_kernel(path: Any, leaf: Any) -> bool:
        return leaf.ndim > 1 and getattr(path[-1], 'key', '') not in ('bias', 'scale')

    return jax.tree_util.tree_map_with_path(is_kernel, params)
