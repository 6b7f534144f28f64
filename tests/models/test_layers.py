"""The drop-ins equal linen's layers: parameters, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_flax.common import backend
from mnist_flax.models import Conv, ConvMaxPool, cpu_conv, max_pool

GPU = backend.Described((), 'gpu', 0.0)

OPTIONS = cpu_conv.COMPILER_OPTIONS if jax.default_backend() == 'cpu' else None


@functools.partial(jax.jit, static_argnums=0, compiler_options=OPTIONS)
def value_and_gradients(function, *arguments):
    y, vjp = jax.vjp(function, *arguments)
    # Cotangents that differ everywhere show a gradient sent to the wrong place.
    cotangents = jnp.arange(1.0, y.size + 1).reshape(y.shape) / y.size
    return y, *jax.tree.leaves(vjp(cotangents.astype(y.dtype)))


def assert_equal(function, expected_function, *arguments, tolerance=1e-5):
    actual = value_and_gradients(function, *arguments)
    expected = value_and_gradients(expected_function, *arguments)
    # Rounding is relative to the terms of a sum, which may nearly cancel each other.
    unsigned = jax.tree.map(jnp.abs, arguments)
    terms = value_and_gradients(expected_function, *unsigned)
    for a, e, t in zip(actual, expected, terms, strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        a, e, t = (np.asarray(array, np.float32) for array in (a, e, t))
        scale = float(np.abs(t).max(initial=0))
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * scale)


def assert_same_layer(shape, *, tolerance=1e-5, dtype=jnp.float32, **arguments):
    ours, theirs = Conv(**arguments), nn.Conv(**arguments)
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    variables = theirs.init(jax.random.key(1), x)
    same = jax.tree.map(jnp.array_equal, ours.init(jax.random.key(1), x), variables)
    assert all(jax.tree.leaves(same))
    assert_equal(ours.apply, theirs.apply, variables, x, tolerance=tolerance)


@st.composite
def convolutions(draw):
    kernel = draw(st.sampled_from([(3, 3), (3, 3), (1, 1), (2, 3), (5, 4)]))
    # With more padding than the window less one, XLA's own gradient is wrong on a CPU
    # (jaxlib 0.10.2): it reads memory beyond the array.
    pairs = st.tuples(*(st.tuples(*[st.integers(0, size - 1)] * 2) for size in kernel))
    return {
        'shape': (
            draw(st.integers(1, 3)),
            *(draw(st.integers(size, 12)) for size in kernel),
            draw(st.sampled_from([1, 3, 8, 9])),
        ),
        'features': draw(st.integers(1, 5)),
        'kernel_size': kernel,
        'strides': draw(st.sampled_from([None, 1, 2, (1, 3)])),
        'padding': draw(st.sampled_from(['SAME', 'VALID', 'CIRCULAR']) | pairs),
        'use_bias': draw(st.booleans()),
    }


@pytest.mark.slow  # each shape is compiled anew
@settings(max_examples=8, deadline=None)
@given(convolutions())
def test_any_conv_is_linens(arguments):
    assert_same_layer(**arguments)


@pytest.mark.parametrize(
    ('shape', 'arguments'),
    [
        ((2, 3, 4, 8), {}),  # Winograd, with a row too many; the pairs of pads differ
        ((1, 3, 4, 8), {'padding': ((1, 0), (0, 1)), 'use_bias': False}),
        ((2, 7, 6, 3), {'strides': 2}),
        ((2, 7, 6, 3), {'kernel_size': (1, 1), 'strides': (1, 3)}),
        ((2, 7, 9, 1), {'kernel_size': (3, 2), 'padding': 'CIRCULAR'}),
        ((2, 6, 5, 4), {'kernel_dilation': 2}),
        ((2, 6, 5, 4), {'input_dilation': (2, 1), 'padding': 1}),
        ((2, 6, 5, 4), {'feature_group_count': 2}),
        ((2, 6, 5, 2), {'feature_group_count': 2, 'strides': 2}),
        ((2, 9, 3), {'kernel_size': 4, 'padding': 'CAUSAL'}),  # one spatial axis, and three
        ((1, 3, 4, 3, 2), {'kernel_size': (2, 1, 2)}),
        ((6, 5, 3), {}),  # a single example, and batches of batches
        ((2, 3, 6, 5, 3), {}),
        ((2, 3, 3, 2), {'kernel_size': (4, 4), 'padding': 'VALID'}),  # no output at all
    ],
)
def test_conv_takes_all_that_linens_takes(shape, arguments):
    assert_same_layer(shape, features=4, **{'kernel_size': (3, 3), **arguments})


@pytest.mark.parametrize(
    ('channels', 'types'), [(8, {'dtype': 'bfloat16'}), (3, {'param_dtype': 'bfloat16'})]
)
def test_conv_has_the_types_of_linens(channels, types):
    shape = (2, 4, 4, channels)
    assert_same_layer(shape, features=4, kernel_size=(3, 3), tolerance=0.02, **types)


@pytest.mark.parametrize('channels', [1, 9])
def test_conv_max_pool_is_linens_conv_and_pool(channels):
    class Both(nn.Module):
        @nn.compact
        def __call__(self, x):
            conv = nn.Conv(5, (3, 3), padding='VALID', use_bias=False, name='ConvMaxPool_0')
            return nn.max_pool(conv(x), (2, 2), (2, 2))

    class Ours(nn.Module):
        @nn.compact
        def __call__(self, x):
            return ConvMaxPool(5)(x)

    x = jax.random.normal(jax.random.key(0), (2, 9, 8, channels))
    variables = Both().init(jax.random.key(1), x)
    same = jax.tree.map(jnp.array_equal, Ours().init(jax.random.key(1), x), variables)
    assert all(jax.tree.leaves(same))
    assert_equal(Ours().apply, Both().apply, variables, x)


@st.composite
def pools(draw):
    window = draw(st.sampled_from([(2, 2), (3, 3), (3, 2), (1, 4), (2, 17, 9), (3,)]))
    pairs = st.tuples(*(st.tuples(*[st.integers(0, size - 1)] * 2) for size in window))
    strides = st.none() | st.tuples(*(st.integers(1, 4) for _ in window))
    return {
        'shape': (
            draw(st.integers(1, 3)),
            *(draw(st.integers(size, 2 * size + 3)) for size in window),
            draw(st.integers(1, 3)),
        ),
        'window_shape': window,
        'strides': draw(strides),
        'padding': draw(st.sampled_from(['SAME', 'VALID']) | pairs),
        'ties': draw(st.booleans()),
    }


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(pools())
def test_any_max_pool_is_linens_with_its_ties(arguments):
    shape, ties = arguments.pop('shape'), arguments.pop('ties')
    x = jax.random.normal(jax.random.key(0), shape)
    x = jnp.round(x) if ties else x
    ours, theirs = (
        functools.partial(pool, **arguments) for pool in (max_pool, nn.max_pool)
    )
    assert_equal(ours, theirs, x, tolerance=1e-6)


@pytest.mark.parametrize(
    ('shape', 'arguments'),
    [
        ((2, 7, 6, 2), {'window_shape': (2, 2), 'strides': (2, 2)}),
        ((2, 7, 6, 2), {'window_shape': (3, 3), 'strides': (2, 2), 'padding': 'SAME'}),
        ((2, 6, 7, 2), {'window_shape': (3, 2), 'padding': ((2, 0), (1, 1))}),
        ((2, 8, 7, 2), {'window_shape': (2, 1), 'strides': (3, 2)}),  # gaps in between
        ((7, 6, 2), {'window_shape': (2, 2)}),
        ((2, 2, 7, 6, 2), {'window_shape': (2, 2)}),
        ((2, 9, 2), {'window_shape': (3,)}),
        ((1, 5, 4, 1), {'window_shape': (6, 2)}),  # no output at all
    ],
)
def test_max_pool_is_linens_with_its_ties(shape, arguments):
    ours, theirs = (
        functools.partial(pool, **arguments) for pool in (max_pool, nn.max_pool)
    )
    x = jnp.round(jax.random.normal(jax.random.key(0), shape))
    assert_equal(ours, theirs, x, tolerance=1e-6)
    assert_equal(ours, theirs, x.astype(jnp.bfloat16), tolerance=0.02)


def test_runs_side_by_side_have_their_own_results():
    def network(kernel, x):
        y = Conv(4, (2, 2), use_bias=False).apply({'params': {'kernel': kernel}}, x)
        return max_pool(y, (2, 2), (2, 2))

    x = jax.random.normal(jax.random.key(0), (3, 2, 7, 6, 2))
    kernels = jax.random.normal(jax.random.key(1), (3, 2, 2, 2, 4))
    together = jax.vmap(functools.partial(value_and_gradients, network))(kernels, x)
    for i in range(3):
        alone = value_and_gradients(network, kernels[i], x[i])
        for a, e in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], e, rtol=1e-4, atol=1e-5)


def test_runs_side_by_side_on_a_gpu_convolve_without_groups():
    """`vmap` would make one convolution of as many groups as runs, which is slow there."""
    xs = jax.random.normal(jax.random.key(0), (3, 2, 9, 8, 4))
    layer = Conv(6, (3, 3), strides=(2, 1))
    variables = jax.vmap(lambda key: layer.init(key, xs[0]))(
        jax.random.split(jax.random.key(1), 3)
    )
    expected = jax.vmap(nn.Conv(6, (3, 3), strides=(2, 1)).apply)(variables, xs)
    with backend.assume(GPU), backend.several_runs(True):
        apply = jax.vmap(lambda *of: layer.apply(*of))
        assert 'conv_general_dilated' not in str(jax.make_jaxpr(apply)(variables, xs))
        np.testing.assert_allclose(apply(variables, xs), expected, atol=1e-5)


def test_what_was_traced_for_one_run_is_not_taken_for_several():
    layer = Conv(6, (3, 3))
    x = jnp.ones((2, 9, 8, 4))
    variables = layer.init(jax.random.key(0), x)
    apply = jax.jit(layer.apply)  # as a model may have it within

    def convolves():
        return 'conv_general_dilated' in str(jax.make_jaxpr(apply)(variables, x))

    with backend.assume(GPU):
        assert convolves()
        with backend.several_runs(True):
            assert not convolves()
        assert convolves()
    assert convolves() == (jax.default_backend() != 'cpu')


@pytest.mark.parametrize('groups', [1, 4, 64])
def test_on_a_tpu_only_few_channels_are_patches(groups):
    """A convolution of many channels stays one, however many groups they are in."""
    layer = Conv(64, (3, 3), feature_group_count=groups)
    x = jnp.ones((2, 9, 8, 64))
    variables = nn.Conv(64, (3, 3), feature_group_count=groups).init(jax.random.key(0), x)
    with backend.assume(backend.Described((), 'tpu', 0.0)):
        jaxpr = jax.make_jaxpr(lambda *of: layer.apply(*of))(variables, x)
    assert 'conv_general_dilated' in str(jaxpr)
