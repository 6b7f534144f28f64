"""Picture files of any origin, and arrays, as colours from 0 to 1."""

import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from mnist_flax.common.errors import UserError, require
from mnist_flax.recognition import decoding, workers

# Of the files in a folder, those that are taken for pictures.
SUFFIXES = (
    '.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.pnm', '.ppm',
    '.tif', '.tiff', '.webp',
    *(('.avif',) if 'AVIF' in decoding.FORMATS else ()),
    *(('.heic', '.heif') if 'HEIF' in decoding.FORMATS else ()),
)  # fmt: skip

Colours = Float[np.ndarray, '_ _ 3']
Gray = Float[np.ndarray, '_ _']
Mask = Bool[np.ndarray, '_ _']

_CHANNELS = (1, 3, 4)  # gray, RGB and RGBA

# A file by its name, the content of one, pixels from 0 to 255 (gray, RGB or RGBA), or an
# image of Pillow's.
Source = str | pathlib.Path | bytes | np.ndarray | Image.Image


def list_sources(sources: Any) -> list[Any]:
    """Lists pictures; one that comes without a list is one picture."""
    one = str | os.PathLike | bytes | bytearray | memoryview | Image.Image
    if isinstance(sources, one):
        return [sources]
    if hasattr(sources, '__array__'):
        pixels = np.asarray(sources)
        is_one = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in _CHANNELS)
        return [pixels] if is_one else [*pixels]
    return [*sources]


def name_sources(sources: Any) -> Iterator[tuple[Source, str]]:
    """Lists pictures with what to call them: the file's name, or a number from 1 on."""
    for number, each in enumerate(list_sources(sources), 1):
        source = to_source(each, str(number))
        yield source, str(source if isinstance(source, pathlib.Path) else number)


def to_source(source: Any, name: str) -> Source:
    """Converts what people have of a picture to what `read` takes.

    Args:
      source: The name of a file, in which ``~`` is the home; its content; an image of
        Pillow's; or an array of uint8, of NumPy, JAX or others.
      name: What to call it in messages.

    Raises:
      UserError: It is something else.
    """
    if isinstance(source, str | os.PathLike):
        return pathlib.Path(os.path.expanduser(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Image.Image):
        return source
    if hasattr(source, '__array__'):
        return np.asarray(source)
    raise UserError(
        f'{name}: found a {type(source).__name__}; allowed: the name of a file, its '
        "content, an image of Pillow's, or an array of uint8"
    )


def read(source: Source, name: str, exact: bool = False) -> Colours:
    """Reads a picture, upright, on white or black where it is transparent.

    Args:
      source: The picture. A file is of one of `decoding.FORMATS`; of an animation the
        first frame is read.
      name: What to call it in messages.
      exact: Whether gray of 12 or 16 bits keeps its scale. Otherwise gray of more than 8
        bits is stretched from its darkest to its brightest pixel.

    Returns:
      Its colours, from 0 to 1; a large picture is averaged over blocks of pixels.

    Raises:
      UserError: It is not a picture, damaged, too large or small, or takes too much time
        or memory to decode.
    """
    if isinstance(source, np.ndarray):
        return _to_colours(decoding.to_pixels(from_array(source, name)))
    if isinstance(source, Image.Image):
        return _to_colours(decoding.from_image(source, name, exact))
    if not isinstance(source, bytes):
        source = _read_file(pathlib.Path(source), name)
    return _to_colours(workers.decode(source, name, exact))


def from_array(pixels: np.ndarray, name: str) -> Image.Image:
    """Makes a picture of pixels from 0 to 255: gray, RGB or RGBA.

    Raises:
      UserError: They are of another kind, or too many or few.
    """
    shape = pixels.shape
    require(
        pixels.dtype == np.uint8
        and (len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS)),
        f'{name}: the array is {pixels.dtype} of shape {shape}; it must be uint8 of shape '
        '(height, width) or (height, width, channels), with 1, 3 or 4 channels',
    )
    image = Image.fromarray(pixels[..., 0] if shape[2:] == (1,) else pixels)
    decoding.check_size(image, name)
    return image


def read_stream(stream: BinaryIO) -> bytes:
    """Reads a file, or of one that is too large enough for `read` to refuse it."""
    return stream.read(decoding.MOST_BYTES + 1)


def _read_file(path: pathlib.Path, name: str) -> bytes:
    try:
        require(not path.is_dir(), f'{name}: this folder holds no pictures')
        # A pipe or a device could be read for ever.
        is_regular = stat.S_ISREG(path.stat().st_mode)
        require(is_regular, f'{name}: it is not a regular file; name a picture')
        with path.open('rb') as file:
            return read_stream(file)
    except (OSError, ValueError) as error:  # a zero in its name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f'{name}: it cannot be read ({reason})') from error


def _to_colours(pixels: decoding.Pixels) -> Colours:
    """Maps pixels to [0, 1], on white or black where they are transparent."""
    pixels = pixels.astype(np.float32) / 255
    if pixels.shape[2] == 3:
        return pixels
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    # What is drawn in white is not meant to be seen on white.
    brightness = float((colours * alpha).sum() / max(3 * alpha.sum(), 1e-6))
    background = 0.0 if brightness > 0.5 and alpha.min() <= 0.99 else 1.0
    return colours * alpha + background * (1 - alpha)
