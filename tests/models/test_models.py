"""The network: its size, its outputs and gradients, dropout and batch norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mnist_flax.common.errors import UserError
from mnist_flax.models import cnn

DEFAULT = {'features': (32, 64), 'hidden_size': 128, 'num_classes': 10}
DEFAULT |= {'conv': 'auto', 'dtype': 'float32', 'dropout_rate': 0.0, 'batch_norm': False}


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_the_default_network_has_225034_parameters():
    model = cnn.create_model(**DEFAULT)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert {name: count(of) for name, of in variables['params'].items()} == {
        'ConvReluPool_0': 320,
        'ConvReluPool_1': 18_496,
        'Dense_0': 204_928,
        'Dense_1': 1_290,
    }
    assert count(variables) == 225_034
    assert ' 225,034 ' in cnn.summarize(model)


class Textbook(nn.Module):
    """The network as Flax's own layers spell it."""

    @nn.compact
    def __call__(self, x):
        for features in (32, 64):
            x = nn.Conv(features, (3, 3), padding='VALID')(x)
            x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(10)(x)


@pytest.mark.parametrize('conv', ['winograd', 'xla'])
def test_logits_and_gradients_are_those_of_the_textbook_network(mnist, conv):
    # Real digits: their background is full of ties between the outputs of a window.
    images = jnp.asarray(mnist.test.images[:4]) / 255.0
    params = Textbook().init(jax.random.key(1), images)['params']
    # Biases that are not all zero, so that adding them in the wrong place shows.
    params = jax.tree.map(lambda leaf: leaf + 0.01, params)
    model = cnn.create_model(**{**DEFAULT, 'conv': conv})

    def ours(params):
        renamed = {name.replace('Conv', 'ConvReluPool'): p for name, p in params.items()}
        return model.apply({'params': renamed}, images)

    def theirs(params):
        return Textbook().apply({'params': params}, images)

    def logits_and_gradients(function):
        logits, vjp = jax.vjp(function, params)
        return logits, *jax.tree.leaves(vjp(jnp.arange(40.0).reshape(4, 10) - 20))

    for actual, expected in zip(
        jax.jit(logits_and_gradients, static_argnums=0)(ours),
        jax.jit(logits_and_gradients, static_argnums=0)(theirs),
        strict=True,
    ):
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * scale)


def test_width_and_depth_follow_the_config():
    sizes = {'features': (4, 5, 6), 'hidden_size': 7, 'num_classes': 47}
    model = cnn.create_model(**{**DEFAULT, **sizes})
    images = jnp.zeros((2, 28, 28, 1))
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert logits.shape == (2, 47)
    assert variables['params']['Dense_0']['kernel'].shape == (1 * 1 * 6, 7)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        *(('features', value) for value in ((), (8, 0))),
        ('hidden_size', 0),
        ('num_classes', -1),
        *(('dropout_rate', value) for value in (-0.1, 1.0, float('nan'))),
    ],
)
def test_impossible_sizes_are_refused_by_name(field, value):
    with pytest.raises(UserError, match=f'config.model.{field}: found .* allowed: '):
        cnn.create_model(**{**DEFAULT, field: value})


@pytest.mark.parametrize(('scale', 'shape'), [(0.5, (1, 1, 8)), (1.0, (16,))])
def test_what_is_kept_is_scaled_so_that_the_mean_stays(scale, shape):
    keys = jax.random.split(jax.random.key(0), 5000)
    x = jnp.ones((5000, *(3 for _ in shape[:-1]), shape[-1]))
    dropped = cnn._drop(x, cnn.Dropout(keys, jnp.float32(0.6)), 0, scale, shape)
    kept = 1 - 0.6 * scale
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / kept], rtol=1e-6)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    if len(shape) == 3:  # whole maps
        assert bool((dropped == dropped[:, :1, :1]).all())
    other = cnn._drop(x, cnn.Dropout(keys, jnp.float32(0.6)), 1, scale, shape)
    assert bool((other != dropped).any())  # each layer has masks of its own
    assert cnn._drop(x, None, 0, scale, shape) is x


def test_batch_norm_normalises_by_the_batch_or_by_what_it_has_learned():
    tiny = {'features': (4, 8), 'hidden_size': 16, 'conv': 'xla', 'batch_norm': True}
    model = cnn.create_model(**{**DEFAULT, **tiny})
    images = jax.random.uniform(jax.random.key(0), (64, 28, 28, 1))
    variables = model.init(jax.random.key(1), images)
    layers = {*variables['params']['ConvReluPool_0'], *variables['batch_stats']}
    assert layers == {'kernel', 'BatchNorm_0', 'ConvReluPool_0', 'ConvReluPool_1'}
    expected = 9 * 4 + 8 + 9 * 4 * 8 + 16 + 200 * 16 + 16 + 16 * 10 + 10
    assert count(variables['params']) == expected
    before = model.apply(variables, images)
    scaled = jax.tree.map(lambda leaf: leaf * 4, variables['batch_stats'])
    after = model.apply({**variables, 'batch_stats': scaled}, images)
    assert float(jnp.abs(after - before).max()) > 1e-3
