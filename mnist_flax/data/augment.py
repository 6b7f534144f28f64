"""Augmentation: pure functions that change a training image at random, on the device."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mnist_flax.common import backend
from mnist_flax.common.errors import require

Image: TypeAlias = Float[Array, 'height width channels']

# Changes one image, with pixels in [0, 1]; the caller maps it over a batch. The last
# argument is `config.augment.strength`; at 0 the image must stay as it is.
Augment: TypeAlias = Callable[[PRNGKeyArray, Image, Float[Array, '']], Image]

# Pixels between the nodes of the grid that an elastic deformation moves. A cubic B-spline
# of this spacing is as wide as the Gaussian with which Simard et al. 2003 blur their noise
# ("Best practices for convolutional neural networks"): a standard deviation of 4 pixels.
_ELASTIC_SPACING = 4 * math.sqrt(3)


def create_augment(
    rotation: float,
    scale: float,
    shear: float,
    shift: float,
    elastic: float,
    erase: float,
) -> Augment | None:
    """Makes the augmentation from the fields of ``config.augment``.

    Args:
      rotation: Largest angle either way, in degrees.
      scale: Largest change of the height and, independently, of the width, as a fraction
        of the new size.
      shear: Largest shift of a row sideways, in pixels for each pixel from the middle.
      shift: Largest shift down and sideways, in pixels.
      elastic: Standard deviation of the displacements of a smooth random field, in pixels.
      erase: Largest height and width of a black rectangle, as a fraction of the image's.

    Returns:
      The augmentation; None if all amounts are 0.

    Raises:
      UserError: A value is negative, or too large to leave a digit.
    """
    most = {
        'rotation': 180, 'scale': 0.9, 'shear': 2, 'shift': 28, 'elastic': 28, 'erase': 1,
    }  # fmt: skip
    amounts = dict(zip(most, (rotation, scale, shear, shift, elastic, erase), strict=True))
    for name, amount in amounts.items():
        require(
            0 <= amount <= most[name],
            f'config.augment.{name}: found {amount}; allowed: 0 to {most[name]}',
        )
    return Deformation(**amounts) if any(amounts.values()) else None


@dataclasses.dataclass(frozen=True)
class Deformation:
    """Moves, turns, stretches, slants and bends an image, and blackens a part of it.

    One bilinear interpolation applies all displacements together, so that the image is
    blurred once only. Pixels from outside the image are black. For the fields see
    `create_augment`.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    erase: float = 0.0

    def __call__(
        self, key: PRNGKeyArray, image: Image, strength: Float[Array, ''] | float = 1.0
    ) -> Image:
        """Draws amounts, uniform up to ``strength`` times the largest, and applies them."""
        affine_key, elastic_key, erase_key = jax.random.split(key, 3)
        height, width, _ = image.shape
        if self.rotation or self.scale or self.shear or self.shift or self.elastic:
            places = self._affine(affine_key, (height, width), strength)
            if self.elastic:
                noise = smooth_noise(elastic_key, height, width)
                places += strength * self.elastic * noise
            image = interpolate(image, list(places))
        if self.erase:
            erased = random_rectangle(erase_key, height, width, strength * self.erase)
            image = jnp.where(erased, 0.0, image)
        return image

    def _affine(self, key, shape, strength):
        """Finds where in the image each pixel of the result comes from."""
        angle, height, width, slant, down, sideways = strength * jax.random.uniform(
            key, (6,), minval=-1, maxval=1
        )
        angle *= math.radians(self.rotation)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        turn = jnp.array([[cos, -sin], [sin, cos]])
        slanted = jnp.array([[1.0, 0.0], [0.0, 1.0]]).at[1, 0].set(slant * self.shear)
        stretch = jnp.diag(1 + self.scale * jnp.array([height, width]))
        centre = (np.array(shape) - 1) / 2
        pixels = np.indices(shape) - centre[:, None, None]
        # In full precision: a GPU's usual 10 bits would be off by hundredths of a pixel.
        places = jnp.einsum(
            'ij,jrc->irc', turn @ slanted @ stretch, pixels, precision='highest'
        )
        middle = centre + self.shift * jnp.stack([down, sideways])
        return places + middle[:, None, None]


def interpolate(image: Image, places: Sequence[Float[Array, 'height width']]) -> Image:
    """Takes each pixel from a place, in rows and columns; outside of the image is black.

    A TPU gathers pixel by pixel: by its compiler's estimate this took 24 times the time of
    the rest of a step. There it is a sum of products, with the same result up to rounding.
    """
    if backend.platform() == 'tpu':
        return interpolate_by_products(image, places)
    channels = [
        map_coordinates(image[..., i], places, order=1) for i in range(image.shape[-1])
    ]
    return jnp.stack(channels, axis=-1)


def interpolate_by_products(
    image: Image, places: Sequence[Float[Array, 'height width']]
) -> Image:
    """Does what `interpolate` does, with the weights of all pixels for each place.

    They are 1 at the place and fall to 0 at a distance of one row, or column.
    """
    weights = [
        jnp.maximum(0, 1 - jnp.abs(place.ravel() - jnp.arange(size)[:, None]))
        for place, size in zip(places, image.shape[:2], strict=True)
    ]
    # Places come last, where a TPU has room for 128 numbers side by side. In full
    # precision: its usual 8 bits would be off by hundredths of white.
    along_columns = jnp.einsum('rck,cp->krp', image, weights[1], precision='highest')
    pixels = (along_columns * weights[0]).sum(axis=1)
    return pixels.T.reshape(*places[0].shape, image.shape[-1])


def smooth_noise(
    key: PRNGKeyArray, height: int, width: int
) -> Float[Array, '2 {height} {width}']:
    """Draws a smooth field of displacements, down and sideways, of variance about 1.

    The nodes of a coarse grid are displaced at random; cubic B-splines interpolate.
    """
    rows, columns = _spline_weights(height), _spline_weights(width)
    nodes = jax.random.normal(key, (2, rows.shape[1], columns.shape[1]))
    return jnp.einsum('ri,zij,cj->zrc', rows, nodes, columns, precision='highest')


def _spline_weights(size: int) -> Float[np.ndarray, 'size nodes']:
    places = np.arange(size) / _ELASTIC_SPACING
    nodes = np.arange(-1, math.floor(places[-1]) + 3)
    distance = np.abs(places[:, None] - nodes)
    weights = np.where(
        distance < 1,
        2 / 3 - distance**2 + distance**3 / 2,
        np.clip(2 - distance, 0, None) ** 3 / 6,
    )
    # With sums of squares of 1 the field has the variance of the nodes.
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def random_rectangle(
    key: PRNGKeyArray, height: int, width: int, most: Float[Array, ''] | float
) -> Bool[Array, '{height} {width} 1']:
    """Draws a mask that is true in a random rectangle.

    Args:
      key: Source of the randomness.
      height: Of the mask, in pixels.
      width: Of the mask, in pixels.
      most: Largest height and width of the rectangle, as a fraction of the mask's; both are
        uniform up to it.
    """
    sizes_key, places_key = jax.random.split(key)
    shape = jnp.array([height, width])
    sizes = most * jax.random.uniform(sizes_key, (2,)) * shape
    starts = jax.random.uniform(places_key, (2,)) * (shape - sizes)
    rows, columns = (
        # The pixels whose middle is inside.
        (jnp.arange(length) + 0.5 >= start) & (jnp.arange(length) + 0.5 < start + size)
        for length, start, size in zip((height, width), starts, sizes, strict=True)
    )
    return (rows[:, None] & columns)[..., None]
