"""Schedules of the learning rate: the factor of ``config.optimizer.learning_rate``.

``config.schedule.constructor`` names one of these, one of Optax's or one of your own; the
other fields are its arguments. It gets ``num_steps``, the steps of the whole training, and
``steps_per_epoch``, if it names them. It returns a function from the step to the factor. In
all of these ``warmup`` is the part of the training in which the factor first rises along a
line.
"""

import math

import optax

from mnist_flax.common.errors import require


def constant(num_steps: int, warmup: float = 0.0) -> optax.Schedule:
    """Stays at 1."""
    return _warm_up(optax.constant_schedule(1.0), num_steps, warmup)


def cosine(num_steps: int, warmup: float = 0.0, final: float = 0.0) -> optax.Schedule:
    """Falls to ``final`` along half a period.

    Loshchilov & Hutter 2017, arXiv 1608.03983.
    """
    _check('final', final, 0 <= final <= 1, '0 to 1')
    rest = num_steps - _warmup_steps(num_steps, warmup)
    decay = optax.cosine_decay_schedule(1.0, rest, final)
    return _warm_up(decay, num_steps, warmup)


def linear(num_steps: int, warmup: float = 0.0, final: float = 0.0) -> optax.Schedule:
    """Falls to ``final`` along a line."""
    _check('final', final, 0 <= final <= 1, '0 to 1')
    rest = num_steps - _warmup_steps(num_steps, warmup)
    return _warm_up(optax.linear_schedule(1.0, final, rest), num_steps, warmup)


def exponential(num_steps: int, warmup: float = 0.0, final: float = 0.01) -> optax.Schedule:
    """Falls to ``final``, in each step by the same factor."""
    _check('final', final, 0 < final <= 1, 'more than 0, to 1')
    rest = num_steps - _warmup_steps(num_steps, warmup)
    return _warm_up(optax.exponential_decay(1.0, rest, final), num_steps, warmup)


def step(
    num_steps: int,
    steps_per_epoch: int,
    every: float,
    factor: float = 0.1,
    warmup: float = 0.0,
) -> optax.Schedule:
    """Multiplies by ``factor`` after each ``every`` epochs, also in the warm-up."""
    _check('every', every, every * steps_per_epoch >= 1, 'a step or more, in epochs')
    _check('factor', factor, 0 < factor <= 1, 'more than 0, to 1')
    length = round(every * steps_per_epoch)
    start = _warmup_steps(num_steps, warmup)
    # `join_schedules` counts a schedule's steps from where it begins; epochs count from 0.
    falls = {k - start: factor for k in range(length, num_steps, length) if k >= start}
    # The warm-up rises to what the falls before its end leave.
    top = math.pow(factor, len(range(length, start, length)))
    decay = optax.piecewise_constant_schedule(top, falls)
    return _warm_up(decay, num_steps, warmup, top)


def onecycle(num_steps: int, warmup: float) -> optax.Schedule:
    """Rises from a 25th and falls to a 250,000th, both along a cosine.

    After Smith & Topin 2018, arXiv 1708.07120.
    """
    _check('warmup', warmup, 0 < warmup < 1, 'more than 0, to less than 1')
    _warmup_steps(num_steps, warmup)
    return optax.cosine_onecycle_schedule(num_steps, 1.0, warmup)


def warm_restarts(
    num_steps: int, cycles: int, longer: float = 1.0, warmup: float = 0.0
) -> optax.Schedule:
    """Falls to 0 along half a period, ``cycles`` times, each ``longer`` times the last.

    SGDR, Loshchilov & Hutter 2017, arXiv 1608.03983.
    """
    rest = num_steps - _warmup_steps(num_steps, warmup)
    _check('cycles', cycles, 1 <= cycles <= rest, f'1 to {rest}, the steps')
    _check('longer', longer, longer > 0, 'more than 0')
    parts = [longer**i for i in range(cycles)]
    ends = [round(rest * sum(parts[: i + 1]) / sum(parts)) for i in range(cycles)]
    lengths = [b - a for a, b in zip([0, *ends], ends, strict=False)]
    _check('cycles', cycles, min(lengths) > 0, 'few enough for a step in each')
    cosines = [optax.cosine_decay_schedule(1.0, length) for length in lengths]
    return _warm_up(optax.join_schedules(cosines, ends[:-1]), num_steps, warmup)


def _warm_up(
    rest: optax.Schedule, num_steps: int, warmup: float, top: float = 1.0
) -> optax.Schedule:
    steps = _warmup_steps(num_steps, warmup)
    if not steps:
        return rest
    return optax.join_schedules([optax.linear_schedule(0.0, top, steps), rest], [steps])


def _warmup_steps(num_steps: int, warmup: float) -> int:
    _check('warmup', warmup, 0 <= warmup < 1, '0 to less than 1, a part of the training')
    steps = round(warmup * num_steps)
    require(
        steps < num_steps,
        f'config.schedule.warmup: {warmup} is all of the {num_steps} steps; use less, so '
        'that some remain',
    )
    return steps


def _check(name: str, value: float | int, holds: bool, allowed: str) -> None:
    require(
        holds and math.isfinite(value),
        f'config.schedule.{name}: found {value}; allowed: {allowed}',
    )
