"""From any picture to an image for a network, in one of three ways."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from mnist_flax.recognition import framing, ink, pictures, resizing

# 'mnist' cuts the digit out and gives it MNIST's format: white on black, centred, 28x28.
# 'pad' and 'stretch' take the whole picture; see `resizing.fit`.
Framing = Literal['mnist', 'pad', 'stretch']
FRAMINGS: tuple[Framing, ...] = get_args(Framing)


def to_input(
    source: pictures.Source, name: str, way: Framing, size: tuple[int, int] | None = None
) -> resizing.Pixels:
    """Converts a picture to an image: one channel if it is gray, and three otherwise.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.
      way: What is taken of it.
      size: The height and width wanted; those that it has if None.

    Raises:
      UserError: It cannot be read; or ``way`` is 'mnist', and it shows no digit or several.
    """
    if way == 'mnist':
        pixels = to_mnist_format(source, name)
    else:
        pixels = resizing.to_pixels(source, name)
    return resizing.fit(pixels, size, way == 'stretch') if size else pixels


def to_mnist_format(
    source: pictures.Source, name: str = 'picture'
) -> UInt8[np.ndarray, '28 28 1']:
    """Converts the digit in a picture to the format of MNIST's images.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.

    Raises:
      UserError: It cannot be read, or shows no digit or several.
    """
    return framing.frame(ink.find_ink(pictures.read(source, name), name), name)
