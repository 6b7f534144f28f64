import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax import optimizers
from mnist_flax.checks import UserError


def test_adam_s_first_step_has_the_length_of_the_learning_rate():
    # Kingma & Ba 2015: the bias-corrected first step is lr * g / (|g| + eps).
    params = {'w': jnp.ones(3)}
    optimizer = optimizers.create_optimizer('adam', 1e-3)
    grads = {'w': jnp.array([0.5, -2.0, 10.0])}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates['w'], [-1e-3, 1e-3, -1e-3], rtol=1e-4)


@pytest.mark.filterwarnings('ignore:Specifying a key', 'ignore:.*is deprecated')
@pytest.mark.parametrize('name', optimizers.optimizer_names())
def test_every_listed_optimizer_takes_a_step(name):
    params = {'w': jnp.ones((3, 2))}
    optimizer = optimizers.create_optimizer(name, 0.1)
    opt_state = optimizer.init(params)
    for _ in range(2):  # rprop does not move on its first step
        updates, opt_state = optimizer.update({'w': 2 * params['w']}, opt_state, params)
    assert jnp.all(jnp.isfinite(updates['w']))
    assert jnp.any(updates['w'] != 0)


@pytest.mark.parametrize('name', ['adm', '', 'scale_by_adam', 'apply_updates'])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(UserError, match='config.optimizer.name: found .* adam, .*sgd'):
        optimizers.create_optimizer(name, 1e-3)


@pytest.mark.parametrize('learning_rate', [0.0, -1e-3, float('nan'), float('inf')])
def test_a_senseless_learning_rate_is_refused(learning_rate):
    with pytest.raises(UserError, match='config.optimizer.learning_rate: found'):
        optimizers.create_optimizer('adam', learning_rate)
