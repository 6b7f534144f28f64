"""Picture files of any origin, read within limits and reduced to a convenient size."""

import io
import itertools
import pathlib
import re
import stat
import warnings
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_flax.common.errors import UserError, require

# Some of Pillow's decoders call other programs, or are seldom used and little tested.
FORMATS = ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')

# Of the files in a folder, those that are taken for pictures.
SUFFIXES = (
    '.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.pnm', '.ppm',
    '.tif', '.tiff', '.webp',
)  # fmt: skip

MOST_BYTES = 64 * 2**20
MOST_PIXELS = 8000 * 8000

# Of a JPEG, which is decoded once for each; cameras write about ten.
_MOST_SCANS = 100

# Numbers as text, which Pillow reads slowly: with comments it can take hours.
_PLAIN = (b'P1', b'P2', b'P3')

# A JPEG's markers; in the data of a scan 0xff is followed by zero.
_MARKER = re.compile(b'\xff[^\x00\xff]')
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

_LEAST_SIDE = 8
_MOST_ASPECT = 50

# A large picture is reduced, its longer side to this or up to twice as many pixels. A digit
# that fills a tenth of it still has four times the pixels that MNIST gives it, and what
# follows takes some tenths of a second.
_SIDE = 1024

Colours = Float[np.ndarray, '_ _ 3']
Gray = Float[np.ndarray, '_ _']
Mask = Bool[np.ndarray, '_ _']

# A file by its name, the content of one, or pixels from 0 to 255: gray, RGB or RGBA.
Source = str | pathlib.Path | bytes | np.ndarray


def read(source: Source, name: str, exact: bool = False) -> Colours:
    """Reads a picture, upright, on white or black where it is transparent.

    Args:
      source: The picture. A file is of one of `FORMATS`; of an animation the first frame
        is read.
      name: What to call it in messages.
      exact: Whether gray of 16 bits keeps its scale. Otherwise what has more than 8 bits
        is stretched from its darkest to its brightest pixel.

    Returns:
      Its colours, from 0 to 1; a large picture is averaged over blocks of pixels.

    Raises:
      UserError: It is not a picture, damaged, or too large or small.
    """
    if isinstance(source, np.ndarray):
        return _read_array(source, name)
    if not isinstance(source, bytes):
        source = _read_file(pathlib.Path(source), name)
    return _decode(source, name, exact)


def _read_array(pixels: np.ndarray, name: str) -> Colours:
    return _to_colours(from_array(pixels, name))


def from_array(pixels: np.ndarray, name: str) -> Image.Image:
    """Makes a picture of pixels from 0 to 255: gray, RGB or RGBA.

    Raises:
      UserError: They are of another kind, or too many or few.
    """
    shape = pixels.shape
    require(
        pixels.dtype == np.uint8
        and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))),
        f'{name}: the array is {pixels.dtype} of shape {shape}; it must be uint8 of shape '
        '(height, width) or (height, width, channels), with 1, 3 or 4 channels',
    )
    image = Image.fromarray(pixels[..., 0] if shape[2:] == (1,) else pixels)
    _check_size(image, name)
    return image


def read_stream(stream: BinaryIO) -> bytes:
    """Reads a file, or of one that is too large enough for `read` to refuse it."""
    return stream.read(MOST_BYTES + 1)


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


def _decode(content: bytes, name: str, exact: bool) -> Colours:
    require(bool(content), f'{name}: the file is empty')
    require(
        len(content) <= MOST_BYTES,
        f'{name}: the file is larger than {MOST_BYTES >> 20} MiB; make it smaller',
    )
    require(
        content[:2] not in _PLAIN,
        f'{name}: it is a plain PNM; save it as a binary one (P4, P5, P6) or as PNG',
    )
    num_scans = _count_scans(content) if content[:2] == b'\xff\xd8' else 0
    require(
        num_scans <= _MOST_SCANS,
        f'{name}: it is a JPEG of {num_scans} scans; it may have up to {_MOST_SCANS}',
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd metadata
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_size(image, name)
                return _to_colours(image, exact)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f'{name}: it has more than {MOST_PIXELS:,} pixels; make it smaller'
        ) from error
    except Exception as error:  # Pillow raises a dozen types for damaged files
        # For an unknown format it gives no reason.
        reason = '' if isinstance(error, UnidentifiedImageError) else f' ({error})'
        raise UserError(
            f'{name}: it is damaged or not a picture{reason}; the formats are '
            f'{", ".join(FORMATS)}'
        ) from error


def _count_scans(jpeg: bytes) -> int:
    """Counts the scans of a JPEG's first picture; phones append videos and more."""
    number, place = 0, 2
    while found := _MARKER.search(jpeg, place):
        place, marker = found.end(), jpeg[found.end() - 1]
        if marker == 0xD9:  # the end
            break
        if marker not in _WITHOUT_LENGTH:
            place += int.from_bytes(jpeg[place : place + 2])
        number += marker == 0xDA
    return number


def _check_size(image: Image.Image, name: str) -> None:
    # Pillow has only read the header: a small file can claim to hold terabytes.
    width, height = image.size
    # With a transparent colour it becomes RGBA before it is reduced.
    is_keyed = image.mode == 'RGB' and 'transparency' in image.info
    is_small_in_memory = image.format in (None, 'JPEG', 'MPO', 'PNG') and not is_keyed
    most = MOST_PIXELS if is_small_in_memory else MOST_PIXELS // 2
    require(
        min(width, height) >= _LEAST_SIDE and width * height <= most,
        f'{name}: it has {width} x {height} pixels; it should have at least {_LEAST_SIDE} '
        f'in each direction and at most {most:,} in all',
    )
    require(
        max(width, height) <= _MOST_ASPECT * min(width, height),
        f'{name}: it has {width} x {height} pixels; the longer side may be at most '
        f'{_MOST_ASPECT} times the shorter one',
    )
    compression = str(image.info.get('compression', ''))
    require(
        'jpeg' not in compression,
        f'{name}: it is a TIFF compressed by {compression}; use another compression',
    )


def _to_colours(image: Image.Image, exact: bool = False) -> Colours:
    image.draft(image.mode, (_SIDE, _SIDE))  # JPEG can be decoded at 1/2, 1/4 or 1/8
    factor = max(1, max(image.size) // _SIDE)
    info = image.info
    if exact and image.mode[0] in 'IF':
        if not image.mode.startswith('I;16'):
            raise ValueError('its pixels are numbers of 32 bits')
        image = _reduce(Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)), factor)
    elif image.mode[0] in 'IF':
        image = Image.fromarray(_to_bytes(np.asarray(image), factor))
    else:
        if image.mode in ('1', 'P') or 'transparency' in info:
            image = image.convert('RGBA' if image.has_transparency_data else 'RGB')
        image = _reduce(image, factor)
        image = image.convert('RGBA' if image.has_transparency_data else 'RGB')
    image.info = info
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # whatever Pillow makes of damaged metadata
        image.info = {}
    if image.mode != 'RGBA':
        return np.asarray(image.convert('RGB'), np.float32) / 255
    pixels = np.asarray(image, np.float32) / 255
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    # What is drawn in white is not meant to be seen on white.
    brightness = float((colours * alpha).sum() / max(3 * alpha.sum(), 1e-6))
    background = 0.0 if brightness > 0.5 and alpha.min() <= 0.99 else 1.0
    return colours * alpha + background * (1 - alpha)


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """Averages over blocks, in bands: Pillow copies a picture with an alpha channel."""
    if image.mode != 'RGBA':
        return image.reduce(factor)
    width, height = image.size
    reduced = Image.new('RGBA', (-(-width // factor), -(-height // factor)))
    for top in range(0, height, 64 * factor):
        band = image.crop((0, top, width, min(height, top + 64 * factor)))
        reduced.paste(band.reduce(factor), (0, top // factor))
    return reduced


def _to_bytes(pixels: np.ndarray, factor: int) -> UInt8[np.ndarray, '_ _']:
    """Averages numbers of any range over blocks, and maps them to 0..255."""
    height, width = (size // factor * factor for size in pixels.shape)
    means = np.zeros((height // factor, width // factor))
    for i, j in itertools.product(range(factor), repeat=2):  # all at once are too large
        means += pixels[i:height:factor, j:width:factor] / factor**2
    low, high = means.min(), means.max()
    if not np.isfinite([low, high]).all():
        raise ValueError('infinite pixels, or not numbers')
    return np.round((means - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
