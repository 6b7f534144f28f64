"""Every formulation equals XLA's convolution and max-pool, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax.common import backend
from mnist_flax.models import cpu_conv, ops


def random_inputs(key, shape, features, dtype=jnp.float32):
    x_key, kernel_key = jax.random.split(key)
    x = jax.random.normal(x_key, shape, dtype)
    kernel = jax.random.normal(kernel_key, (3, 3, shape[-1], features), dtype)
    return x, kernel


@functools.partial(
    jax.jit,
    static_argnames='formulation',
    compiler_options=cpu_conv.COMPILER_OPTIONS if jax.default_backend() == 'cpu' else None,
)
def value_and_gradients(x, kernel, formulation):
    y, vjp = jax.vjp(lambda x, kernel: ops.conv_max_pool(x, kernel, formulation), x, kernel)
    # Cotangents that differ everywhere show a gradient sent to the wrong place.
    cotangents = jnp.arange(1.0, y.size + 1).reshape(y.shape) / y.size
    return y, *vjp(cotangents.astype(y.dtype))


def assert_equal(actual, expected, tolerance=1e-5):
    for a, e in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        scale = float(jnp.abs(e).max())
        np.testing.assert_allclose(
            a.astype(jnp.float32), e.astype(jnp.float32), rtol=0, atol=tolerance * scale
        )


def assert_winograd_equals_xla(x, kernel, tolerance=1e-5):
    assert_equal(
        value_and_gradients(x, kernel, 'winograd'),
        value_and_gradients(x, kernel, 'xla'),
        tolerance,
    )


@pytest.mark.parametrize(
    ('shape', 'features', 'dtype'),
    [
        # The layers of the default model, and one more.
        *(((4, 28, 28, 1), 32, dtype) for dtype in ('float32', 'bfloat16')),
        *(((4, 13, 13, 32), 64, dtype) for dtype in ('float32', 'bfloat16')),
        ((4, 5, 5, 64), 8, 'float32'),
        # A part of a pooling window left over or not, one tile or several, of each size.
        ((1, 4, 16, 3), 2, 'float32'),
        ((2, 11, 6, 8), 2, 'float32'),
        ((3, 16, 9, 8), 2, 'float32'),
    ],
)
def test_winograd_equals_xla(shape, features, dtype):
    x, kernel = random_inputs(jax.random.key(0), shape, features, dtype)
    tolerance = 1e-5
    if dtype == 'bfloat16':
        # Whole numbers, since XLA rounds outputs to bfloat16 before it pools, so that
        # which of two nearly equal ones is larger depends on the rounding.
        x, kernel, tolerance = jnp.round(x), jnp.round(kernel), 0.02
    assert_winograd_equals_xla(x, kernel, tolerance)


@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
@pytest.mark.parametrize(
    'shape', [(4, 28, 28, 1), (4, 13, 13, 32), (2, 11, 6, 8), (1, 4, 16, 3)]
)
def test_patches_equal_xla(shape, platform):
    x, kernel = random_inputs(jax.random.key(0), shape, 8)
    expected = value_and_gradients(x, kernel, 'xla')
    with backend.assume(backend.Described((), platform, 0.0)):
        assert_equal(value_and_gradients(x, kernel, 'patches'), expected)


@pytest.mark.parametrize('channels', [1, 8])
def test_gradient_of_ties_goes_to_the_first_maximum(channels):
    # Whole numbers are computed without rounding by XLA, so that its ties are exact.
    x_key, kernel_key = jax.random.split(jax.random.key(1))
    x = jax.random.bernoulli(x_key, 0.1 / channels, (4, 13, 11, channels)).astype(float)
    kernel = jax.random.randint(kernel_key, (3, 3, channels, 8), -1, 2).astype(float)
    y = ops.xla_conv(x, kernel)
    windows = y[:, :10, :8].reshape(4, 5, 2, 4, 2, 8).transpose(0, 1, 3, 5, 2, 4)
    windows = np.sort(windows.reshape(-1, 4))
    assert (windows[:, 2] == windows[:, 3]).mean() > 0.3
    assert_winograd_equals_xla(x, kernel)


@pytest.mark.parametrize('channels', [1, 16])
@pytest.mark.parametrize('pixel', [0.0, 0.3])
def test_an_even_image_has_ties_everywhere(channels, pixel):
    _, kernel = random_inputs(jax.random.key(0), (1, 13, 13, channels), features=8)
    x = jnp.full((2, 13, 13, channels), pixel)
    assert_winograd_equals_xla(x, kernel)


def test_numbers_tie_within_the_tolerance_only():
    corners = [jnp.full((1, 1, 1, 1), value) for value in (1.0, 1.5, 1.75, 1.0)]
    for tie, winner in ((0.0, 2), (0.2, 2), (0.3, 1), (1.0, 0)):
        maximum, vjp = jax.vjp(lambda *c, t=tie: ops.max_of_corners(list(c), t), *corners)
        assert maximum.item() == 1.75
        gradients = [gradient.item() for gradient in vjp(jnp.ones((1, 1, 1, 1)))]
        assert gradients == [float(i == winner) for i in range(4)]


@pytest.mark.parametrize('channels', [1, 8])
def test_winograd_under_vmap(channels):
    xs = jax.random.normal(jax.random.key(0), (3, 2, 9, 12, channels))
    kernels = jax.random.normal(jax.random.key(1), (3, 3, 3, channels, 4))
    function = functools.partial(value_and_gradients, formulation='winograd')
    together = jax.vmap(function)(xs, kernels)
    for i, (x, kernel) in enumerate(zip(xs, kernels, strict=True)):
        assert_equal([a[i] for a in together], value_and_gradients(x, kernel, 'xla'))


@pytest.mark.parametrize(
    ('platform', 'channels', 'expected', 'of_several_runs'),
    [
        ('cpu', 1, 'winograd', 'winograd'),
        ('gpu', 1, 'xla', 'patches'),
        ('gpu', 8, 'xla', 'patches'),
        ('tpu', 1, 'patches', 'patches'),
        ('tpu', 8, 'xla', 'xla'),
    ],
)
def test_auto_is_the_formulation_for_the_devices(
    platform, channels, expected, of_several_runs
):
    x, kernel = random_inputs(jax.random.key(0), (2, 8, 8, channels), features=4)

    def trace(name):
        # A new function each time, since JAX remembers what it has traced.
        return str(jax.make_jaxpr(lambda *of: ops.conv_max_pool(*of, name))(x, kernel))

    with backend.assume(backend.Described((), platform, 0.0)):
        assert trace('auto') == trace(expected)
        assert len({trace(name) for name in ('xla', 'winograd', 'patches')}) == 3
        with backend.several_runs(True):
            assert trace('auto') == trace(of_several_runs)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='an option of the CPU backend')
def test_xla_keeps_the_barriers():
    """Without them a step takes 1.5 times as long, and no other test would notice."""
    x, kernel = random_inputs(jax.random.key(0), (2, 8, 8, 8), features=4)
    program = value_and_gradients.lower(x, kernel, 'winograd').compile()
    assert 'opt-barrier' in program.as_text()


@pytest.mark.parametrize('n', [2, 4, 5])
def test_transforms_filter_exactly(n):
    inputs, kernel, outputs = map(np.array, cpu_conv.transforms(n))
    for i in range(n + 2):  # in fractions, on a basis of the inputs and of the filters
        for j in range(3):
            signal, weights = np.eye(n + 2, dtype=int)[i], np.eye(3, dtype=int)[j]
            expected = [signal[k : k + 3] @ weights for k in range(n)]
            assert list(outputs @ ((kernel @ weights) * (inputs @ signal))) == expected
