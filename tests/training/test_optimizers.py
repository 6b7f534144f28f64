import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax.common.errors import UserError
from mnist_flax.training import optimizers

DEFAULT = {'name': 'sgd', 'learning_rate': 0.5, 'weight_decay': 0.0, 'schedule': 'constant'}
DEFAULT |= {'warmup': 0.0, 'clip_norm': 0.0, 'num_steps': 10}


def updates_of(num_updates, grads, weight_decay=0.0, **changes):
    settings = {**DEFAULT, 'weight_decay': weight_decay, **changes}
    numbers = {'learning_rate': settings['learning_rate'], 'weight_decay': weight_decay}
    optimizer = optimizers.create_optimizer(**settings).transformation(numbers)
    params = jax.tree.map(jnp.ones_like, grads)
    opt_state = optimizer.init(params)
    found = []
    for _ in range(num_updates):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        found.append(updates)
    return found


def rates(num_steps=10, **changes):
    return [
        -float(update[0])
        for update in updates_of(num_steps + 1, jnp.ones(3), num_steps=num_steps, **changes)
    ]


def test_adam_s_first_step_has_the_length_of_the_learning_rate():
    # Kingma & Ba 2015: the bias-corrected first step is lr * g / (|g| + eps).
    grads = jnp.array([0.5, -2.0, 10.0])
    (update,) = updates_of(1, grads, name='adam', learning_rate=1e-3)
    np.testing.assert_allclose(update, [-1e-3, 1e-3, -1e-3], rtol=1e-4)


def test_the_constant_rate_stays():
    assert rates() == [0.5] * 11


def test_the_cosine_falls_from_the_learning_rate_to_zero():
    expected = [0.25 * (1 + math.cos(math.pi * step / 4)) for step in range(5)]
    np.testing.assert_allclose(rates(4, schedule='cosine'), expected, atol=1e-6)


@pytest.mark.parametrize('schedule', ['constant', 'cosine'])
def test_the_warm_up_rises_in_a_straight_line_to_the_learning_rate(schedule):
    actual = rates(schedule=schedule, warmup=0.4)
    np.testing.assert_allclose(actual[:5], [0, 0.125, 0.25, 0.375, 0.5], atol=1e-6)
    rest = [0.25 * (1 + math.cos(math.pi * step / 6)) for step in range(7)]
    expected = rest if schedule == 'cosine' else [0.5] * 7
    np.testing.assert_allclose(actual[4:], expected, atol=1e-6)


def test_one_cycle_rises_from_a_25th_and_falls_to_a_250000th():
    actual = rates(schedule='onecycle', warmup=0.4)
    low, high, last = 0.5 / 25, 0.5, 0.5 / 25e4
    middle = [(low + high) / 2, (high + last) / 2]  # a cosine's, half-way up and down
    expected = [low, middle[0], high, middle[1], last]
    np.testing.assert_allclose([actual[i] for i in (0, 2, 4, 7, 10)], expected, rtol=1e-5)


@pytest.mark.parametrize('schedule', typing.get_args(optimizers.Schedule))
@pytest.mark.parametrize('name', typing.get_args(optimizers.Name))
def test_every_listed_optimizer_takes_a_step(name, schedule):
    grads = jnp.array([0.5, -2.0, 10.0])
    for update in updates_of(
        2, grads, name=name, learning_rate=0.1, schedule=schedule, warmup=0.3
    ):
        assert jnp.all(jnp.isfinite(update))
    assert jnp.any(update != 0)


def test_weight_decay_is_decoupled_and_spares_biases():
    grads = {'kernel': jnp.zeros((2, 2)), 'bias': jnp.zeros(2)}
    (update,) = updates_of(1, grads, name='adamw', weight_decay=0.1)
    np.testing.assert_allclose(update['kernel'], -0.5 * 0.1 * np.ones((2, 2)), rtol=1e-6)
    np.testing.assert_array_equal(update['bias'], np.zeros(2))


def test_large_gradients_are_scaled_down_to_the_norm():
    grads = jnp.array([3.0, 4.0])
    for clip_norm, expected in ((1.0, [-0.3, -0.4]), (10.0, [-1.5, -2.0])):
        (update,) = updates_of(1, grads, clip_norm=clip_norm)
        np.testing.assert_allclose(update, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'learning_rate': 0.0}, 'learning_rate: found 0.0; allowed: a positive'),
        ({'learning_rate': -1e-3}, 'learning_rate: found -0.001; allowed: a positive'),
        ({'learning_rate': math.nan}, 'learning_rate: found nan; allowed: a positive'),
        ({'learning_rate': math.inf}, 'learning_rate: found inf; allowed: a positive'),
        ({'weight_decay': 0.1}, "weight_decay: 'sgd' has no weight decay; use 0, or"),
        ({'weight_decay': -0.1}, 'weight_decay: found -0.1; allowed: 0 or more'),
        ({'warmup': 1.0}, 'warmup: found 1.0; allowed: 0 to less than 1'),
        ({'warmup': 0.96}, 'warmup: 0.96 is all of the 10 steps; use less'),
        ({'schedule': 'onecycle'}, 'warmup: found 0.0; allowed: more than 0 to less than'),
        ({'clip_norm': -1.0}, 'clip_norm: found -1.0; allowed: 0 or more'),
        ({'clip_norm': math.nan}, 'clip_norm: found nan; allowed: 0 or more'),
    ],
)
def test_senseless_settings_are_refused(changes, message):
    with pytest.raises(UserError) as caught:
        optimizers.create_optimizer(**{**DEFAULT, **changes})
    assert str(caught.value).startswith(f'config.optimizer.{message}')
