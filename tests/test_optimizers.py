import math
import typing

import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax import optimizers
from mnist_flax.checks import UserError


def first_updates(optimizer, grads, num_steps):
    params = {'w': jnp.ones(3)}
    opt_state = optimizer.init(params)
    for _ in range(num_steps):
        updates, opt_state = optimizer.update({'w': grads}, opt_state, params)
        yield updates['w']


def test_adam_s_first_step_has_the_length_of_the_learning_rate():
    # Kingma & Ba 2015: the bias-corrected first step is lr * g / (|g| + eps).
    optimizer = optimizers.create_optimizer('adam', 1e-3, 'constant', num_steps=9)
    (update,) = first_updates(optimizer, jnp.array([0.5, -2.0, 10.0]), 1)
    np.testing.assert_allclose(update, [-1e-3, 1e-3, -1e-3], rtol=1e-4)


def test_the_cosine_falls_from_the_learning_rate_to_zero():
    optimizer = optimizers.create_optimizer('sgd', 0.5, 'cosine', num_steps=4)
    rates = [-float(update[0]) for update in first_updates(optimizer, jnp.ones(3), 5)]
    expected = [0.25 * (1 + math.cos(math.pi * step / 4)) for step in range(5)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_the_constant_rate_stays():
    optimizer = optimizers.create_optimizer('sgd', 0.5, 'constant', num_steps=2)
    rates = [-float(update[0]) for update in first_updates(optimizer, jnp.ones(3), 5)]
    assert rates == [0.5] * 5


@pytest.mark.parametrize('schedule', ['constant', 'cosine'])
@pytest.mark.parametrize('name', typing.get_args(optimizers.Name))
def test_every_listed_optimizer_takes_a_step(name, schedule):
    optimizer = optimizers.create_optimizer(name, 0.1, schedule, num_steps=10)
    for update in first_updates(optimizer, jnp.array([0.5, -2.0, 10.0]), 2):
        assert jnp.all(jnp.isfinite(update))
    assert jnp.any(update != 0)


@pytest.mark.parametrize('learning_rate', [0.0, -1e-3, float('nan'), float('inf')])
def test_a_senseless_learning_rate_is_refused(learning_rate):
    with pytest.raises(UserError, match='config.optimizer.learning_rate: found'):
        optimizers.create_optimizer('adam', learning_rate, 'constant', num_steps=1)
