"""The optimizer and its learning rate, built from ``config.optimizer``."""

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import optax
from jaxtyping import Array, Float

from mnist_flax.common.errors import require

# Names of Optax's own; each needs a learning rate and nothing else.
Name = Literal[
    'adabelief', 'adagrad', 'adam', 'adamax', 'adamaxw', 'adamw', 'adan', 'amsgrad', 'lamb',
    'lion', 'nadam', 'nadamw', 'radam', 'rmsprop', 'sgd', 'yogi',
]  # fmt: skip

Schedule = Literal['constant', 'cosine', 'onecycle']


def create_optimizer(
    name: Name,
    learning_rate: float,
    weight_decay: float,
    schedule: Schedule,
    warmup: float,
    clip_norm: float,
    num_steps: int,
) -> 'Optimizer':
    """Makes an optimizer from the fields of ``config.optimizer``.

    Args:
      name: Its name in `optax`.
      learning_rate: The highest one, reached after the warm-up.
      weight_decay: Part of each kernel, times the learning rate, that a step takes away.
      schedule: The learning rate after the warm-up, see `Optimizer`.
      warmup: Part of the training in which the learning rate rises.
      clip_norm: Gradients with a larger norm, over all parameters, are scaled down to it;
        0 leaves them.
      num_steps: Steps of the whole training.

    Returns:
      The optimizer, without the two numbers that can differ between runs.

    Raises:
      UserError: A value makes no sense, or this optimizer has no weight decay.
    """
    require(
        math.isfinite(learning_rate) and learning_rate > 0,
        f'config.optimizer.learning_rate: found {learning_rate}; allowed: a positive, '
        'finite number',
    )
    decaying = [other for other in get_args(Name) if _has_decay(other)]
    require(
        math.isfinite(weight_decay) and weight_decay >= 0,
        f'config.optimizer.weight_decay: found {weight_decay}; allowed: 0 or more',
    )
    require(
        weight_decay == 0 or name in decaying,
        f'config.optimizer.weight_decay: {name!r} has no weight decay; use 0, or one of '
        f'{", ".join(decaying)}',
    )
    lowest = 'more than 0' if schedule == 'onecycle' else '0'
    require(
        0 <= warmup < 1 and (warmup > 0 or schedule != 'onecycle'),
        f'config.optimizer.warmup: found {warmup}; allowed: {lowest} to less than 1, a '
        'part of the training',
    )
    require(
        round(warmup * num_steps) < num_steps,
        f'config.optimizer.warmup: {warmup} is all of the {num_steps} steps; use less, so '
        'that some remain',
    )
    require(
        math.isfinite(clip_norm) and clip_norm >= 0,
        f'config.optimizer.clip_norm: found {clip_norm}; allowed: 0 or more',
    )
    return Optimizer(name, schedule, warmup, clip_norm, num_steps)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What all runs of a program share of their optimizer; fields as in `create_optimizer`.

    The schedules: ``'constant'`` stays. ``'cosine'`` falls to 0 along half a period, as in
    Loshchilov & Hutter 2017, arXiv 1608.03983. ``'onecycle'`` rises from a 25th and falls
    to a 250,000th, both along a cosine, after Smith & Topin 2018, arXiv 1708.07120.
    """

    name: Name
    schedule: Schedule
    warmup: float
    clip_norm: float
    num_steps: int

    def transformation(
        self, hyperparams: Mapping[str, Float[Array, ''] | float]
    ) -> optax.GradientTransformation:
        """Makes Optax's transformation for the numbers of one run.

        Args:
          hyperparams: ``learning_rate``, and ``weight_decay`` if it is not 0.
        """
        peak, schedule = hyperparams['learning_rate'], self.normalized_schedule()
        options: dict[str, Any] = {'learning_rate': lambda step: peak * schedule(step)}
        if _has_decay(self.name):
            options['weight_decay'] = hyperparams.get('weight_decay', 0.0)
            options['mask'] = _is_kernel
        optimizer = getattr(optax, self.name)(**options)
        if self.clip_norm:
            return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)
        return optimizer

    @property
    def depends_on_length(self) -> bool:
        """Tells whether the learning rate of a step depends on how many there will be."""
        return self.schedule != 'constant' or self.warmup > 0

    def normalized_schedule(self) -> optax.Schedule:
        """Makes the schedule of a learning rate of 1."""
        if self.schedule == 'onecycle':
            return optax.cosine_onecycle_schedule(self.num_steps, 1.0, self.warmup)
        warmup_steps = round(self.warmup * self.num_steps)
        rest = optax.constant_schedule(1.0)
        if self.schedule == 'cosine':
            rest = optax.cosine_decay_schedule(1.0, self.num_steps - warmup_steps)
        if not warmup_steps:
            return rest
        rise = optax.linear_schedule(0.0, 1.0, warmup_steps)
        return optax.join_schedules([rise, rest], [warmup_steps])


def _has_decay(name: str) -> bool:
    return 'weight_decay' in inspect.signature(getattr(optax, name)).parameters


def _is_kernel(params: Any) -> Any:
    # Biases, and the scales of batch norm, are left alone, as is usual.
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
