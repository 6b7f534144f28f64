"""Corruptions of test images, each at five severities."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from mnist_flax.data.augment import Image, interpolate
from mnist_flax.recognition.handwriting import blur

Amount: TypeAlias = Float[Array, '']


def _noise(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    return image + amount * jax.random.normal(key, image.shape)


def _blur(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    blurred = [blur(image[..., i], amount) for i in range(image.shape[-1])]
    return jnp.stack(blurred, axis=-1)


def _shift(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    angle = jax.random.uniform(key, maxval=2 * jnp.pi)
    offset = amount * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    return _move(image, jnp.eye(2), offset)


def _rotation(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    angle = jnp.deg2rad(amount) * jax.random.rademacher(key, ())
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _move(image, jnp.array([[cos, -sin], [sin, cos]]), jnp.zeros(2))


def _scale(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    factor = amount ** jax.random.rademacher(key, ())
    return _move(image, jnp.eye(2) * factor, jnp.zeros(2))


def _contrast(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    return amount * image


def _occlusion(key: PRNGKeyArray, image: Image, amount: Amount) -> Image:
    # Its middle is where digits are, in the inner 20x20 of 28x28 pixels.
    size = jnp.array(image.shape[:2], jnp.float32)
    corner = (
        jax.random.uniform(key, (2,), minval=size / 7, maxval=6 * size / 7) - amount / 2
    )
    rows, columns = (
        (jnp.arange(size) + 0.5 > start) & (jnp.arange(size) + 0.5 < start + amount)
        for size, start in zip(image.shape[:2], corner, strict=True)
    )
    return jnp.where((rows[:, None] & columns)[..., None], 0.0, image)


def _move(image: Image, matrix: Float[Array, '2 2'], offset: Float[Array, '2']) -> Image:
    """Takes each pixel from where ``matrix`` and ``offset`` send it, about the middle."""
    centre = (np.array(image.shape[:2]) - 1) / 2
    pixels = np.indices(image.shape[:2]) - centre[:, None, None]
    places = jnp.einsum('ij,jrc->irc', matrix, pixels, precision='highest')
    rows, columns = places + (centre + offset)[:, None, None]
    return interpolate(image, [rows, columns])


class Corruption(NamedTuple):
    """One way to make images worse."""

    apply: Callable[[PRNGKeyArray, Image, Amount], Image]  # to pixels in [0, 1]
    amounts: tuple[float, ...]  # from mild to severe, for 28x28 pixels
    unit: str


CORRUPTIONS = {
    'noise': Corruption(_noise, (0.1, 0.2, 0.3, 0.4, 0.5), 'standard deviation'),
    'blur': Corruption(_blur, (0.5, 1.0, 1.5, 2.0, 2.5), 'pixels (standard deviation)'),
    'shift': Corruption(_shift, (1.0, 2.0, 3.0, 4.0, 6.0), 'pixels, in any direction'),
    'rotation': Corruption(_rotation, (10.0, 20.0, 30.0, 40.0, 50.0), 'degrees either way'),
    'scale': Corruption(_scale, (1.1, 1.2, 1.4, 1.6, 2.0), 'times larger or smaller'),
    'contrast': Corruption(_contrast, (0.7, 0.5, 0.3, 0.2, 0.1), 'of the brightness left'),
    'occlusion': Corruption(
        _occlusion, (4.0, 6.0, 8.0, 10.0, 12.0), 'pixels, side of a black square'
    ),
}

SEVERITIES = (1, 2, 3, 4, 5)


def list_amounts(name: str, size: tuple[int, ...]) -> tuple[float, ...]:
    """Lists the amounts for images of a size; those in pixels grow with it."""
    corruption = CORRUPTIONS[name]
    if not corruption.unit.startswith('pixels'):
        return corruption.amounts
    return tuple(amount * min(size) / 28 for amount in corruption.amounts)


def corrupt(
    name: str,
    severity: int,
    key: PRNGKeyArray,
    images: UInt8[np.ndarray, 'images height width channels'],
) -> UInt8[np.ndarray, 'images height width channels']:
    """Makes images worse, each in its own way; the same key gives the same result.

    Args:
      name: One of `CORRUPTIONS`.
      severity: One of `SEVERITIES`.
      key: Source of the randomness.
      images: The images.
    """
    amount = list_amounts(name, images.shape[1:3])[severity - 1]
    return np.asarray(_corrupt(name, key, images, amount))


@functools.partial(jax.jit, static_argnums=0)
def _corrupt(name, key, images, amount):
    keys = jax.random.split(key, len(images))
    changed = jax.vmap(CORRUPTIONS[name].apply, (0, 0, None))(keys, images / 255.0, amount)
    return jnp.round(255 * jnp.clip(changed, 0, 1)).astype(jnp.uint8)
