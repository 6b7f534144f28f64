"""The operations of a training step that are slow on a CPU are found, and only those."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from mnist_flax import models
from mnist_flax.models.slow_ops import find_slow

CONVOLUTION, POOLING = "XLA's convolution", "the gradient of XLA's max-pooling"


class Net(nn.Module):
    conv: object
    pool: object

    @nn.compact
    def __call__(self, x):
        x = self.conv(2, (3, 3))(x)
        return self.pool(x, (2, 2)).sum()


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='the drop-ins are XLA elsewhere')
@pytest.mark.parametrize(
    ('conv', 'pool', 'found'),
    [
        (nn.Conv, nn.max_pool, [CONVOLUTION, POOLING]),
        (nn.Conv, models.max_pool, [CONVOLUTION]),
        (models.Conv, nn.max_pool, [POOLING]),
        (models.Conv, nn.avg_pool, []),
        (models.Conv, models.max_pool, []),
    ],
)
def test_slow_operations_of_a_training_loop(conv, pool, found):
    net, x = Net(conv, pool), jnp.ones((1, 5, 6, 1))
    params = net.init(jax.random.key(0), x)

    @jax.jit
    def train(params):
        def step(i, params):
            gradients = jax.vmap(jax.grad(net.apply), (None, 0))(params, x[None])
            return jax.tree.map(lambda p, g: p - g[0], params, gradients)

        return lax.fori_loop(0, 3, step, params)

    assert find_slow(jax.make_jaxpr(train)(params)) == found
    assert find_slow(train.trace(params).jaxpr) == found


def test_max_pooling_without_its_gradient_is_not_slow():
    pool = functools.partial(nn.max_pool, window_shape=(2, 2))
    assert find_slow(jax.make_jaxpr(pool)(jnp.ones((1, 4, 4, 1)))) == []
