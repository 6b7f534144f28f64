"""Drop-ins for linen's convolution and pooling that are also fast on a CPU.

In the body of a compiled loop, such as an epoch, XLA's CPU backend has only slow kernels
for convolutions and for the gradient of max-pooling. Slices, additions and matrix products
are fast there. On other backends the functions here are XLA's own operations.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mnist_flax.common import backend
from mnist_flax.models import cpu_conv, ops

_store = lax.optimization_barrier


def convolve(
    x: Float[Array, 'batch *sizes channels'],
    kernel: Float[Array, '*window group_channels features'],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> Float[Array, 'batch *out_sizes features']:
    """Does what ``lax.conv_general_dilated`` does for `flax.linen.Conv`, up to rounding.

    On a CPU a 3x3 convolution with stride 1 is computed by Winograd's method, one of each
    channel by itself as a sum of shifted inputs, and others as the product of all patches
    and the kernel. A dilated input takes XLA's convolution there too. There is a gradient,
    but no forward-mode derivative. Accelerators multiply patches where `ops` does.

    Args:
      x: The inputs; any number of spatial axes.
      kernel: The filters.
      window_strides: One number for each spatial axis.
      padding: ``'SAME'``, ``'VALID'``, or pairs of numbers for each spatial axis.
      **options: The other arguments that `flax.linen.Conv` passes.
    """
    ones = (1,) * (x.ndim - 2)
    dilation = tuple(options.get('rhs_dilation') or ones)
    window, strides = kernel.shape[:-2], tuple(window_strides)
    extents = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    pads = _pads(x, extents, strides, padding)
    if (
        not (backend.platform() == 'cpu' or ops.prefers_patches(x.shape[-1]))
        or tuple(options.get('lhs_dilation') or ones) != ones
        or min(_out_sizes(x, extents, strides, pads)) < 1
    ):
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **options)
    x = _pad(x, pads, 0)
    groups = options.get('feature_group_count', 1)
    if 1 < groups == x.shape[-1]:
        x = _store(jnp.repeat(x, kernel.shape[-1] // groups, axis=-1))
        weights = kernel.reshape(-1, kernel.shape[-1])
        slices = _slices(x, window, strides, dilation)
        return functools.reduce(jnp.add, map(jnp.multiply, slices, weights))
    return jnp.concatenate(
        [
            _convolve(*of_group, strides, dilation, options.get('precision'))
            for of_group in zip(
                jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True
            )
        ],
        axis=-1,
    )


def _convolve(x, kernel, strides, dilation, precision):
    window, features = kernel.shape[:-2], kernel.shape[-1]
    is_plain = (window, strides, dilation) == ((3, 3), (1, 1), (1, 1))
    is_plain &= backend.platform() == 'cpu'
    if is_plain and x.shape[-1] >= cpu_conv.FEW_CHANNELS:
        return _convolve_3x3(x, kernel)
    slices = _slices(_store(x), window, strides, dilation)
    patches = _store(jnp.concatenate(slices, axis=-1)).reshape(-1, kernel[..., 0].size)
    products = jnp.matmul(patches, kernel.reshape(-1, features), precision=precision)
    return products.reshape(*slices[0].shape[:-1], features)


def _convolve_3x3(x, kernel):
    # `winograd` computes pairs of rows and of columns; one too many is cut off.
    height, width = x.shape[1] - 2, x.shape[2] - 2
    x = _pad(x, [(0, height % 2), (0, width % 2)], 0)
    # Narrower types would lose what the transforms cancel.
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    corners = cpu_conv.winograd(x.astype(dtype), kernel.astype(dtype))
    rows = [cpu_conv.interleave(corners[i : i + 2], 2) for i in (0, 2)]
    return cpu_conv.interleave(rows, 1)[:, :height, :width].astype(x.dtype)


# `flax.linen.Conv` with the same arguments, parameters and results up to rounding.
Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)


def max_pool(
    inputs: Float[Array, '*batch_and_sizes channels'],
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = 'VALID',
) -> Float[Array, '*batch_and_out_sizes channels']:
    """Does what `flax.linen.max_pool` does; the gradient goes to the first maximum too.

    Args:
      inputs: Feature maps, with any number of axes before the spatial ones.
      window_shape: Sizes of the windows, one for each spatial axis.
      strides: Steps between the windows; 1 if None.
      padding: ``'SAME'``, ``'VALID'``, or pairs of numbers for each spatial axis.
    """
    window, num_batch_axes = tuple(window_shape), inputs.ndim - len(window_shape) - 1
    steps = tuple(strides or (1,) * len(window))
    x = inputs.reshape(-1, *inputs.shape[num_batch_axes:])
    pads = _pads(x, window, steps, padding)
    if backend.platform() != 'cpu' or min(_out_sizes(x, window, steps, pads)) < 1:
        return nn.max_pool(inputs, window, steps, padding)
    x = _pad(x, pads, -jnp.inf)
    y = _max_pool(x, window, steps, x.shape[1:-1])
    return y.reshape(*inputs.shape[:num_batch_axes], *y.shape[1:])


class ConvMaxPool(nn.Module):
    """3x3 convolution with stride 1, no padding and no bias, then 2x2 max-pooling.

    It has the parameters of `Conv` and does what `Conv` and `max_pool` do after each other,
    up to rounding, as one operation. On a CPU a step takes 0.4 to 0.7 of their time (of 32
    and 8 features of an image, and of 64 of 32; one core, batches of 64, with gradients).
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch pooled_height pooled_width features']:
        """Computes the maxima of all 2x2 windows; a last odd row or column is left out."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
        return ops.conv_max_pool(x, kernel.astype(x.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, window, strides, sizes):
    return _max_pool_forward(x, window, strides, sizes)[0]


def _max_pool_forward(x, window, strides, sizes):
    del sizes  # for the gradient
    slices = _slices(_store(x), window, strides, (1,) * len(window))
    maximum = functools.reduce(jnp.maximum, slices)
    # Which element is the first maximum is all that the gradient needs.
    dtype = np.min_scalar_type(len(slices))
    winner = jnp.full(maximum.shape, len(slices) - 1, dtype)
    for i in reversed(range(len(slices) - 1)):
        winner = jnp.where(slices[i] == maximum, dtype.type(i), winner)
    return _store((maximum, winner))


def _max_pool_backward(window, strides, sizes, winner, gradient):
    gradient = _store(gradient)
    pieces = [jnp.where(winner == i, gradient, 0) for i in range(math.prod(window))]
    for axis in reversed(range(len(window))):
        pieces = [
            _paste(pieces[i : i + window[axis]], axis + 1, strides[axis], sizes[axis])
            for i in range(0, len(pieces), window[axis])
        ]
    return (pieces[0],)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _slices(x, window, strides, dilation):
    """Lists the first elements of all windows, then the second ones, and so on."""
    extents = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    out_sizes = _out_sizes(x, extents, strides, [(0, 0)] * len(window))
    lengths = [(n - 1) * stride + 1 for n, stride in zip(out_sizes, strides, strict=True)]
    slices = []
    for place in np.ndindex(*window):
        starts = [i * step for i, step in zip(place, dilation, strict=True)]
        ends = [start + n for start, n in zip(starts, lengths, strict=True)]
        slices.append(
            lax.slice(x, (0, *starts, 0), (len(x), *ends, x.shape[-1]), (1, *strides, 1))
        )
    return slices


def _paste(pieces, axis, stride, size):
    """Transposes `_slices` on one axis: puts elements back, and adds up where they meet."""
    most = (len(pieces) - 1) // stride

    def shift(piece, by):
        widths = [(by, most - by) if i == axis else (0, 0) for i in range(piece.ndim)]
        return jnp.pad(piece, widths)

    phases = [
        sum(shift(piece, by) for by, piece in enumerate(pieces[phase::stride]))
        for phase in range(min(stride, len(pieces)))
    ]
    phases += [jnp.zeros_like(phases[0])] * (stride - len(phases))
    x = cpu_conv.interleave(phases, axis)
    x = lax.slice_in_dim(x, 0, min(size, x.shape[axis]), axis=axis)
    widths = [(0, size - x.shape[i] if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths)


def _pads(x, extents, strides, padding):
    """Settles the padding as pairs of numbers for the spatial axes."""
    if isinstance(padding, str):
        return lax.padtype_to_pads(x.shape[1:-1], extents, strides, padding)
    return [tuple(pair) for pair in padding]


def _pad(x, pads, value):
    widths = [(0, 0, 0), *((*pair, 0) for pair in pads), (0, 0, 0)]
    return lax.pad(x, jnp.array(value, x.dtype), widths)


def _out_sizes(x, extents, strides, pads):
    return [
        (size + low + high - extent) // stride + 1
        for size, extent, stride, (low, high) in zip(
            x.shape[1:-1], extents, strides, pads, strict=True
        )
    ]
