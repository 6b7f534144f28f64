import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from small_runs import create_optimizer

from mnist_flax.common.errors import UserError
from mnist_flax.recipe import optimizers, schedules

SGD = {'constructor': 'sgd', 'learning_rate': 0.5}
NAMES = (
    'adabelief', 'adagrad', 'adam', 'adamax', 'adamaxw', 'adamw', 'adan', 'amsgrad', 'lamb',
    'lars', 'lion', 'nadam', 'nadamw', 'optax.contrib.muon', 'radam', 'rmsprop', 'sgd',
    'yogi',
)  # fmt: skip


def updates_of(num_updates, grads, traced=None, **settings):
    settings = {**SGD, **settings}
    numbers = {'optimizer.learning_rate': settings['learning_rate'], **(traced or {})}
    optimizer = create_optimizer(num_steps=10, **settings).transformation(numbers)
    params = jax.tree.map(jnp.ones_like, grads)
    opt_state = optimizer.init(params)
    found = []
    for _ in range(num_updates):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        found.append(updates)
    return found


def test_adam_s_first_step_has_the_length_of_the_learning_rate():
    # Kingma & Ba 2015: the bias-corrected first step is lr * g / (|g| + eps).
    grads = jnp.array([0.5, -2.0, 10.0])
    (update,) = updates_of(1, grads, constructor='adam', learning_rate=1e-3)
    np.testing.assert_allclose(update, [-1e-3, 1e-3, -1e-3], rtol=1e-4)


def test_a_step_has_the_learning_rate_times_the_schedule():
    found = updates_of(4, jnp.ones(1), schedule={'constructor': 'constant', 'warmup': 0.2})
    np.testing.assert_allclose(np.ravel(found), [0, -0.25, -0.5, -0.5], atol=1e-6)


def cosine(position):
    return 0.5 * (1 + math.cos(math.pi * position))


# Schedules, the number of steps, and the factor of each: epochs have two steps.
FACTORS = [
    ({'constructor': 'constant'}, 3, [1, 1, 1, 1]),
    ({'constructor': 'constant', 'warmup': 0.4}, 10, [0, 0.25, 0.5, 0.75, *[1] * 7]),
    ({'constructor': 'cosine'}, 4, [cosine(i / 4) for i in range(5)]),
    ({'constructor': 'cosine', 'final': 0.5}, 2, [1, 0.75, 0.5]),
    (
        {'constructor': 'cosine', 'warmup': 0.4}, 10,
        [0, 0.25, 0.5, 0.75, *(cosine(i / 6) for i in range(7))],
    ),
    ({'constructor': 'linear', 'final': 0.2}, 4, [1, 0.8, 0.6, 0.4, 0.2]),
    ({'constructor': 'exponential', 'final': 1 / 16}, 4, [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]),
    ({'constructor': 'step', 'every': 1.0}, 6, [1, 1, 0.1, 0.1, 0.01, 0.01]),
    # The epochs are counted from the start of the training.
    (
        {'constructor': 'step', 'every': 1.5, 'factor': 0.5, 'warmup': 1 / 4}, 8,
        [0, 0.5, 1, 0.5, 0.5, 0.5, 0.25, 0.25],
    ),
    # So the warm-up rises to what is left after the falls within it.
    (
        {'constructor': 'step', 'every': 1.0, 'factor': 0.5, 'warmup': 0.5}, 10,
        [0, 0.05, 0.1, 0.15, 0.2, 0.25, 1 / 8, 1 / 8, 1 / 16, 1 / 16],
    ),
    # From a 25th to 1 and down to a 250,000th, half-way up and down as a cosine.
    (
        {'constructor': 'onecycle', 'warmup': 0.5}, 4,
        [0.04, 0.52, 1, (1 + 4e-6) / 2, 4e-6],
    ),
    ({'constructor': 'warm_restarts', 'cycles': 2}, 4, [1, 0.5, 1, 0.5, 0]),
    (
        {'constructor': 'warm_restarts', 'cycles': 2, 'longer': 2.0}, 6,
        [1, 0.5, *(cosine(i / 4) for i in range(5))],
    ),
    (
        {'constructor': 'optax.polynomial_schedule', 'init_value': 1.0, 'end_value': 0.0,
         'power': 2.0, 'transition_steps': 2}, 3, [1, 0.25, 0],
    ),
]  # fmt: skip


@pytest.mark.parametrize(('schedule', 'num_steps', 'expected'), FACTORS)
def test_schedules_by_hand(schedule, num_steps, expected):
    factor = optimizers.create_schedule(ConfigDict(schedule), 2, num_steps)
    actual = [float(factor(i)) for i in range(len(expected))]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_every_schedule_is_tried():
    names = {
        name for name, of in vars(schedules).items() if name[0] != '_' and callable(of)
    }
    assert names - {'require'} == {of['constructor'] for of, *_ in FACTORS[:-1]}


@pytest.mark.parametrize('name', NAMES)
def test_optimizers_of_optax_take_a_step(name):
    grads = {'kernel': jnp.array([[0.5, -2.0], [10.0, 0.1]]), 'bias': jnp.array([0.5])}
    cosine = {'constructor': 'cosine', 'warmup': 0.3}
    for update in updates_of(
        2, grads, constructor=name, learning_rate=0.1, schedule=cosine, weight_decay=0.0
    ):
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in update.values())
    assert all(jnp.any(leaf != 0) for leaf in update.values())


def test_an_optimizer_gets_its_other_arguments():
    grads = jnp.ones(1)
    found = updates_of(2, grads, momentum=0.9, nesterov=True)
    # Sutskever et al. 2013: the trace is 1 and 1.9, a step is the gradient and 0.9 of it.
    np.testing.assert_allclose(np.ravel(found), [-0.5 * 1.9, -0.5 * (1 + 0.9 * 1.9)])
    traced = updates_of(2, grads, {'optimizer.momentum': 0.9}, momentum=0.1, nesterov=True)
    np.testing.assert_allclose(traced, found)


def create_own(learning_rate, factor: float):
    return optax.chain(optax.scale(factor), optax.scale_by_learning_rate(learning_rate))


def test_an_optimizer_can_be_a_function_of_one_s_own():
    (update,) = updates_of(1, jnp.ones(1), constructor=f'{__name__}.create_own', factor=3.0)
    assert update == -1.5


@pytest.mark.parametrize(
    ('name', 'decay'),
    [
        ('adamw', {'weight_decay': 0.1}),
        ('lion', {'weight_decay': 0.1}),
        ('lars', {'weight_decay': 0.1}),
        ('adafactor', {'weight_decay_rate': 0.1}),
        ('optax.contrib.muon', {'weight_decay': 0.1}),
    ],
)
def test_optimizers_with_a_mask_do_not_decay_biases(name, decay):
    grads = {'kernel': jnp.zeros((2, 2)), 'bias': jnp.zeros(2)}
    (update,) = updates_of(1, grads, constructor=name, **decay)
    assert jnp.all(update['kernel'] != 0)
    assert jnp.all(update['bias'] == 0)


def test_weight_decay_is_decoupled_and_spares_biases():
    grads = {'kernel': jnp.zeros((2, 2)), 'bias': jnp.zeros(2)}
    (update,) = updates_of(1, grads, constructor='adamw', weight_decay=0.1)
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
        ({'constructor': 'adm'}, "constructor: found 'adm' (AttributeError: "),
        ({'constructor': 'optax.tree'}, "constructor: found 'optax.tree'"),
        ({'constructor': 'optax.scale'}, 'constructor: scale ('),
        ({'learning_rate': 0.0}, 'learning_rate: found 0.0; allowed: a positive'),
        ({'learning_rate': -1e-3}, 'learning_rate: found -0.001; allowed: a positive'),
        ({'learning_rate': math.nan}, 'learning_rate: found nan; allowed: a positive'),
        ({'learning_rate': math.inf}, 'learning_rate: found inf; allowed: a positive'),
        ({'learning_rate': None}, 'learning_rate: found None; allowed: a positive'),
        ({'weight_decay': 0.1}, "weight_decay: 'sgd' has no weight decay; use 0, or"),
        ({'weight_decay': -0.1}, 'weight_decay: found -0.1; allowed: 0 or more'),
        ({'clip_norm': -1.0}, 'clip_norm: found -1.0; allowed: 0 or more'),
        ({'clip_norm': math.nan}, 'clip_norm: found nan; allowed: 0 or more'),
        ({'nesterov': 'yes'}, "nesterov: found 'yes'; allowed: bool"),
    ],
)
def test_senseless_settings_of_an_optimizer_are_refused(changes, message):
    with pytest.raises(UserError) as caught:
        create_optimizer(**{**SGD, **changes})
    assert str(caught.value).startswith(f'config.optimizer.{message}')


def create_vector(num_steps):
    return lambda step: jnp.ones(2) * step


def create_untraceable():
    return lambda step: 1.0 if step < 5 else 0.1


@pytest.mark.parametrize(
    ('name', 'fields', 'message'),
    [
        ('cosine', {'warmup': 1.0}, '.warmup: found 1.0; allowed: 0 to less than 1'),
        ('linear', {'warmup': 0.96}, '.warmup: 0.96 is all of the 10 steps; use less'),
        ('onecycle', {'warmup': 0.0}, '.warmup: found 0.0; allowed: more than 0, to less'),
        ('onecycle', {}, '.warmup is missing; allowed: float'),
        ('cosine', {'final': 2.0}, '.final: found 2.0; allowed: 0 to 1'),
        ('linear', {'final': math.nan}, '.final: found nan; allowed: 0 to 1'),
        ('exponential', {'final': 0.0}, '.final: found 0.0; allowed: more than 0, to 1'),
        ('step', {'every': 0.1}, '.every: found 0.1; allowed: a step or more, in epochs'),
        ('step', {'every': math.inf}, '.every: found inf; allowed: a step or more'),
        ('step', {'every': 1.0, 'factor': 0.0}, '.factor: found 0.0; allowed: more than 0'),
        ('warm_restarts', {'cycles': 11}, '.cycles: found 11; allowed: 1 to 10, the steps'),
        ('cubic', {}, ".constructor: found 'cubic'"),
        (f'{__name__}.create_vector', {}, ': the schedule of create_vector (tests/recip'),
        (f'{__name__}.create_untraceable', {}, ': create_untraceable (tests/recipe/test'),
    ],
)
def test_senseless_schedules_are_refused(name, fields, message):
    with pytest.raises(UserError) as caught:
        optimizers.create_schedule(ConfigDict({'constructor': name, **fields}), 2, 10)
    assert str(caught.value).startswith(f'config.schedule{message}')
