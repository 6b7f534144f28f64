"""Every formulation equals XLA's convolution and max-pool, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_flax import ops


def random_inputs(key, shape, features, kernel_side=3):
    x_key, kernel_key = jax.random.split(key)
    x = jax.random.normal(x_key, shape)
    kernel = jax.random.normal(kernel_key, (kernel_side, kernel_side, shape[-1], features))
    return x, kernel


@functools.partial(jax.jit, static_argnames='formulation')
def value_and_gradients(x, kernel, formulation):
    y, vjp = jax.vjp(lambda x, kernel: ops.conv_max_pool(x, kernel, formulation), x, kernel)
    # Cotangents that differ everywhere show a gradient sent to the wrong place.
    return y, *vjp(jnp.arange(1.0, y.size + 1).reshape(y.shape) / y.size)


def assert_equal(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        scale = float(jnp.abs(e).max())
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * scale)


@settings(max_examples=12)
@given(
    batch=st.integers(1, 3),
    height=st.integers(4, 12),
    width=st.integers(4, 12),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**31),
)
def test_patches_equal_xla(batch, height, width, channels, seed):
    shape = (batch, height, width, channels)
    x, kernel = random_inputs(jax.random.key(seed), shape, features=2)
    assert_equal(
        value_and_gradients(x, kernel, 'patches'), value_and_gradients(x, kernel, 'xla')
    )


@pytest.mark.parametrize('side', [28, 13, 5])
def test_patches_equal_xla_on_the_model_s_shapes(side):
    channels, features = {28: (1, 32), 13: (32, 64), 5: (64, 8)}[side]
    x, kernel = random_inputs(jax.random.key(0), (4, side, side, channels), features)
    assert_equal(
        value_and_gradients(x, kernel, 'patches'), value_and_gradients(x, kernel, 'xla')
    )


def test_gradient_of_ties_goes_to_the_first_maximum():
    # Whole numbers are computed without rounding, so that ties are exact in both.
    x_key, kernel_key = jax.random.split(jax.random.key(1))
    x = jax.random.bernoulli(x_key, 0.1, (4, 13, 11, 1)).astype(jnp.float32)
    kernel = jax.random.randint(kernel_key, (3, 3, 1, 8), -1, 2).astype(jnp.float32)
    y = ops.xla_conv(x, kernel)
    windows = y[:, :10, :8].reshape(4, 5, 2, 4, 2, 8).transpose(0, 1, 3, 5, 2, 4)
    windows = np.sort(windows.reshape(-1, 4))
    assert (windows[:, 2] == windows[:, 3]).mean() > 0.4
    assert_equal(
        value_and_gradients(x, kernel, 'patches'), value_and_gradients(x, kernel, 'xla')
    )


def test_gradient_of_a_constant_goes_to_the_first_corner():
    gradient = jax.grad(lambda x: ops.max_pool(x).sum())(jnp.zeros((1, 5, 4, 1)))
    expected = np.zeros((5, 4))
    expected[0:4:2, 0:4:2] = 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_patches_under_vmap():
    xs = jax.random.normal(jax.random.key(0), (3, 2, 9, 9, 2))
    kernels = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 4))
    together = jax.vmap(lambda x, k: ops.conv_max_pool(x, k, 'patches'))(xs, kernels)
    for x, kernel, y in zip(xs, kernels, together, strict=True):
        assert_equal([y], [ops.conv_max_pool(x, kernel, 'patches')])


def test_auto_is_the_formulation_for_the_backend():
    x, kernel = random_inputs(jax.random.key(0), (2, 8, 8, 1), features=4)
    expected = 'patches' if jax.default_backend() == 'cpu' else 'xla'
    jaxprs = {
        name: str(
            jax.make_jaxpr(lambda x, k, f=name: ops.conv_max_pool(x, k, f))(x, kernel)
        )
        for name in ('auto', 'xla', 'patches')
    }
    assert jaxprs['auto'] == jaxprs[expected]
    assert jaxprs['xla'] != jaxprs['patches']
