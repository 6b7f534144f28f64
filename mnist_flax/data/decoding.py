"""Encoded images as pixels, in the shape that their data set declares."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from mnist_flax.data import pngs

if TYPE_CHECKING:
    from PIL import Image

# What TFDS encodes. Rarer formats have decoders that are little tested.
_FORMATS = ('PNG', 'JPEG')

_MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}


def decode_all(
    contents: Sequence[bytes], shape: tuple[int, int, int]
) -> UInt8[np.ndarray, 'images height width channels']:
    """Decodes one or more files, each as `decode` does."""
    images = pngs.decode(contents, shape)
    if images is None:
        images = np.stack([decode(content, shape) for content in contents])
    return images


def decode(
    content: bytes, shape: tuple[int, int, int]
) -> UInt8[np.ndarray, 'height width channels']:
    """Decodes a PNG or JPEG.

    Files of another kind than the data set declares (colour, palette, 1 or 16 bits,
    transparent) are converted as TFDS's decoder does, `tf.io.decode_image`: transparency
    is ignored, gray is 0.299 red + 0.587 green + 0.114 blue, of 16 bits the upper 8 count.

    Args:
      content: The file.
      shape: Height, width and channels (1, 3 or 4), as declared.

    Raises:
      ValueError: The image has another size; for a file that is damaged, or no such image,
        Pillow raises others too.
    """
    # Imported here, and below, since it is seldom needed: MNIST does without.
    from PIL import Image

    height, width, channels = shape
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        # Before decoding: a few bytes can claim to be gigabytes of pixels.
        if image.size != (width, height):
            raise ValueError(
                f'it has an image of {image.width}x{image.height} pixels, not '
                f'{width}x{height}'
            )
        if image.mode != _MODES[channels]:
            return _convert(image, channels)
        return np.asarray(image).reshape(shape)


def _convert(image: 'Image.Image', channels: int) -> UInt8[np.ndarray, 'height width _']:
    from PIL import Image

    if image.mode.startswith('I'):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == 'P':
        image = image.convert('RGBA')
    pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)
