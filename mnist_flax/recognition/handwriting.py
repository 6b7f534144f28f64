"""Augmentation for the handwriting of other people: other hands, pens and cameras."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mnist_flax.common.errors import require
from mnist_flax.data.augment import Augment, Image, create_augment


def create_handwriting(
    rotation: float,
    scale: float,
    shear: float,
    shift: float,
    elastic: float,
    erase: float,
    blur: float,
    pen: float,
) -> 'Handwriting':
    """Makes the augmentation from the fields of ``config.augment``.

    Args:
      rotation: As in `augment.create_augment`, like the following up to ``erase``.
      scale: See there.
      shear: See there.
      shift: See there.
      elastic: See there.
      erase: See there.
      blur: Largest standard deviation, in pixels, of a Gaussian that rounds the strokes.
      pen: Largest change, up or down, of the brightness above which a pixel is a stroke:
        strokes become thinner or thicker.

    Raises:
      UserError: A value is negative or too large to leave a digit.
    """
    for name, amount, most in (('blur', blur, 4), ('pen', pen, 0.5)):
        require(
            0 <= amount <= most,
            f'config.augment.{name}: found {amount}; allowed: 0 to {most}',
        )
    deform = create_augment(rotation, scale, shear, shift, elastic, erase)
    return Handwriting(deform, blur, pen)


@dataclasses.dataclass(frozen=True)
class Handwriting:
    """Deforms a digit, and draws it with another pen; fields as in `create_handwriting`.

    The pen: the image is blurred, and where it is then brighter than some level there is a
    stroke, with a soft or a sharp edge. That looks like low resolutions, thick and thin
    pens, and scans.
    """

    deform: Augment | None
    blur: float
    pen: float

    def __call__(
        self, key: PRNGKeyArray, image: Image, strength: Float[Array, ''] | float = 1.0
    ) -> Image:
        """Draws amounts, uniform up to ``strength`` times the largest; applies them."""
        deform_key, pen_key = jax.random.split(key)
        if self.deform:
            image = self.deform(deform_key, image, jnp.asarray(strength))
        width, level, edge = strength * jax.random.uniform(pen_key, (3,))
        sigma = self.blur * width
        smooth = blur(image[..., 0], sigma)[..., None]
        # From as soft as the blur leaves an edge, over 2.5 sigma, to as steep as before it;
        # to move the middle of an edge that is as soft as a pixel, it must be steeper.
        steepest = jnp.maximum(1 + strength * (self.pen > 0), 2.5 * sigma)
        gain = 1 + edge * (steepest - 1)
        middle = 0.5 + self.pen * (2 * level - strength)

        def draw(brightness):
            return jnp.clip(gain * (brightness - middle) + 0.5, 0.0, 1.0)

        # Paper stays black, and what is covered with ink white.
        black, white = draw(0.0), draw(1.0)
        return (draw(smooth) - black) / (white - black)


def blur(
    image: Float[Array, 'height width'], sigma: Float[Array, '']
) -> Float[Array, 'height width']:
    """Blurs by a Gaussian, at the border by the part of it that is in the image."""

    def weights(size: int) -> Float[Array, 'size size']:
        places = jnp.arange(size)
        distance = places[:, None] - places
        # Of almost no width, it takes no other pixel than itself.
        kernel = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 0.05)) ** 2)
        return kernel / kernel.sum(axis=1, keepdims=True)

    rows, columns = weights(image.shape[0]), weights(image.shape[1])
    return jnp.einsum('ri,ij,cj->rc', rows, image, columns, precision='highest')
