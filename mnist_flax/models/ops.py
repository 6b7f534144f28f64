"""Convolution and max-pooling, formulated for the backend in use."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mnist_flax.common import backend
from mnist_flax.models import cpu_conv

Formulation = Literal['auto', 'xla', 'winograd', 'patches']

# Outputs of Winograd's method that differ by less than this fraction of their bound count
# as equal: in even background, of which MNIST is full, they differ by rounding where XLA's
# are equal. Measured on digits: errors of up to 3e-7 of the bound.
_WINOGRAD_TIE = 5e-7


def conv_max_pool(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, '3 3 channels features'],
    formulation: Formulation = 'auto',
) -> Float[Array, 'batch pooled_height pooled_width features']:
    """Convolves (stride 1, no padding), then max-pools 2x2 windows with stride 2.

    Args:
      x: Images or feature maps, 4x4 or larger.
      kernel: The filters.
      formulation: ``'xla'`` uses XLA's own operations; ``'winograd'`` those that are
        fastest on a CPU (a sum of shifted images where there are few channels);
        ``'patches'`` a matrix product of patches and kernel; ``'auto'`` Winograd's on a
        CPU, the patches for several runs side by side on a GPU and for few channels on a
        TPU, and XLA's elsewhere. The result is the same up to rounding.

    Returns:
      The pooled maps, ``(height - 2) // 2`` high and likewise wide.
    """
    if formulation == 'auto':
        formulation = _choose(x.shape[-1])
    if formulation == 'xla':
        return xla_max_pool(xla_conv(x, kernel))
    if formulation == 'patches':
        return _patches_max_pool(x, kernel)
    # Narrower types would lose what the transforms cancel.
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    arguments = x.astype(dtype), kernel.astype(dtype)
    if x.shape[-1] < cpu_conv.FEW_CHANNELS:
        pooled = max_of_corners(cpu_conv.direct(*arguments))
    else:
        inputs, weights = map(jnp.abs, lax.stop_gradient(arguments))
        bound = inputs.max(axis=(1, 2, 3), keepdims=True) * weights.sum(axis=(0, 1, 2))
        pooled = max_of_corners(cpu_conv.winograd(*arguments), _WINOGRAD_TIE * bound)
    return pooled.astype(x.dtype)


def _choose(num_channels: int) -> Formulation:
    if backend.platform() == 'cpu':
        return 'winograd'
    return 'patches' if prefers_patches(num_channels) else 'xla'


def prefers_patches(num_channels: int) -> bool:
    """Tells whether an accelerator should multiply patches instead of convolving.

    Args:
      num_channels: Of the convolution's inputs.
    """
    if backend.platform() == 'tpu':
        # In full precision the gradient of a kernel of one channel takes the compiler more
        # than 24 minutes as a convolution (docs/performance.md).
        return num_channels < cpu_conv.FEW_CHANNELS
    return backend.avoids_convolutions()


def _patches_max_pool(x, kernel):
    height, width = x.shape[1] - 2, x.shape[2] - 2
    if backend.platform() == 'tpu':
        return xla_max_pool(_multiply_patches(x, kernel, height, width))
    # Of 64 runs on an H100 this takes 1.6 GiB, with XLA's pooling 3.9 GiB.
    height, width = height // 2 * 2, width // 2 * 2  # what the pool uses
    y = _multiply_patches(x, kernel, height, width)
    windows = y.reshape(len(x), height // 2, 2, width // 2, 2, -1)
    return max_of_corners([windows[:, :, i, :, j] for i, j in cpu_conv.CORNERS])


def _multiply_patches(x, kernel, height, width):
    shifted = [x[:, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


@jax.custom_vjp
def max_of_corners(
    corners: cpu_conv.Corners, tie: Float[Array, '*#tie'] | float = 0.0
) -> Float[Array, 'batch pooled_height pooled_width features']:
    """Takes the maximum of each pooling window, given as its four corners.

    The gradient goes to the first maximum, as in XLA: the background of MNIST is full of
    ties, and dividing the gradient among them would be another function.

    Args:
      corners: Top left, top right, bottom left and bottom right numbers of the windows.
      tie: For the gradient, numbers that differ by no more than this count as equal.
    """
    return _max_of_corners_forward(corners, tie)[0]


def _max_of_corners_forward(corners, tie):
    maximum = functools.reduce(jnp.maximum, corners)
    first, second, third = (corner >= maximum - tie for corner in corners[:3])
    winner = jnp.where(first, 0, jnp.where(second, 1, jnp.where(third, 2, 3)))
    # The gradient needs one byte for each output, and no more.
    return lax.optimization_barrier((maximum, winner.astype(jnp.uint8)))


def _max_of_corners_backward(winner, gradient):
    return [jnp.where(winner == corner, gradient, 0) for corner in range(4)], None


max_of_corners.defvjp(_max_of_corners_forward, _max_of_corners_backward)


def xla_conv(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns channels features'],
) -> Float[Array, 'batch out_height out_width features']:
    """Convolves (stride 1, no padding) with XLA's convolution, as `linen.Conv` does."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def xla_max_pool(
    x: Float[Array, 'batch height width channels'],
) -> Float[Array, 'batch pooled_height pooled_width channels']:
    """Max-pools 2x2 windows with XLA's reduce-window, as `linen.max_pool` does."""
    window = (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, 'VALID')
