"""From any picture to an image for a network."""

import numpy as np
from jaxtyping import UInt8

from mnist_flax.common.framings import Framing
from mnist_flax.recognition import ink, pictures, resizing
from mnist_flax.recognition.framing import frame

# What MNIST's images have in common, all 10,000 for testing: the longer side of the digit,
# in pixels, and how far its centre of mass is from pixel 14, at most.
_SIDES, _OFF = (19, 20), 0.51


def to_input(
    source: pictures.Source,
    name: str,
    framing: Framing,
    size: tuple[int, int] | None = None,
) -> resizing.Pixels:
    """Converts a picture to an image: one channel if it is gray, and three otherwise.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.
      framing: How. What is in MNIST's format already is not framed again.
      size: The height and width wanted; those that it has if None.

    Raises:
      UserError: It cannot be read; or it shows no digit, or several, that 'mnist' could cut
        out.
    """
    if framing == 'mnist':
        colours = pictures.read(source, name)
        pixels = find_framed(colours)
        if pixels is None:
            pixels = frame(ink.find_ink(colours, name), name)
    else:
        pixels = resizing.to_pixels(source, name)
    return resizing.fit(pixels, size, framing == 'stretch') if size else pixels


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
    return frame(ink.find_ink(pictures.read(source, name), name), name)


def find_framed(colours: pictures.Colours) -> UInt8[np.ndarray, '28 28 1'] | None:
    """Returns a picture that is in MNIST's format already, as bytes; None for others."""
    pixels = resizing.to_bytes(colours) if colours.shape[:2] == (28, 28) else None
    return pixels if pixels is not None and _is_framed(pixels) else None


def _is_framed(pixels: resizing.Pixels) -> bool:
    """Says whether an image of 28x28 pixels is in MNIST's format already."""
    if pixels.shape[2] != 1 or not pixels.any():
        return False
    image = pixels[..., 0].astype(float)
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    longer_side = max(np.ptp(rows), np.ptp(columns)) + 1
    masses = image.sum(axis=1), image.sum(axis=0)
    off = [abs(mass @ np.arange(28) / image.sum() - 14) for mass in masses]
    return int(longer_side) in _SIDES and bool(max(off) <= _OFF)
