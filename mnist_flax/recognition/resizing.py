"""Whole pictures in the size and the channels that a network takes."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mnist_flax.recognition import pictures

Pixels = UInt8[np.ndarray, '_ _ _']  # height, width, channels


def to_pixels(source: pictures.Source, name: str) -> Pixels:
    """Reads a picture as bytes: one channel if it is gray, and three otherwise.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.

    Raises:
      UserError: As in `pictures.read`.
    """
    if isinstance(source, np.ndarray) and source.shape[2:] in ((), (1,)):
        pictures.from_array(source, name)  # only checks: it is what is wanted
        return source.reshape(*source.shape[:2], 1)
    return to_bytes(pictures.read(source, name, exact=True))


def to_bytes(colours: pictures.Colours) -> Pixels:
    """Converts colours to bytes: one channel if all is gray, and three otherwise."""
    rounded = np.round(255 * colours).astype(np.uint8)
    is_gray = bool((rounded == rounded[..., :1]).all())
    return rounded[..., :1] if is_gray else rounded


def to_image(pixels: Pixels) -> Image.Image:
    """Makes a picture of Pillow's."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def to_channels(
    pixels: UInt8[np.ndarray, 'height width _'], channels: int
) -> UInt8[np.ndarray, 'height width {channels}']:
    """Converts gray to colours (3 channels), or colours to gray (1).

    Gray is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601).
    """
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert('L'))[..., None]


def fit(
    pixels: UInt8[np.ndarray, '_ _ channels'], size: tuple[int, int], stretch: bool
) -> UInt8[np.ndarray, '{size[0]} {size[1]} channels']:
    """Resizes a picture to height and width.

    Args:
      pixels: The picture.
      size: The height and width wanted.
      stretch: Whether it takes them in any case. Otherwise it keeps the ratio of its sides,
        and the rest is filled with the median colour of its edge.
    """
    if pixels.shape[:2] == size:
        return pixels
    scale = min(size[0] / pixels.shape[0], size[1] / pixels.shape[1])
    inner = tuple(max(1, round(scale * side)) for side in pixels.shape[:2])
    height, width = size if stretch else inner
    # Pillow's filter becomes wider when a picture is made smaller, so that it averages.
    resized = np.asarray(
        to_image(pixels).resize((width, height), Image.Resampling.BILINEAR)
    )
    resized = resized.reshape(height, width, pixels.shape[2])
    if (height, width) == size:
        return resized
    edge = np.concatenate(
        [*pixels[[0, -1]], *pixels[:, [0, -1]].swapaxes(0, 1)]  # rows and columns
    )
    framed = np.empty((*size, pixels.shape[2]), np.uint8)
    framed[:] = np.median(edge, axis=0).astype(np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    framed[top : top + height, left : left + width] = resized
    return framed
