"""Picture files, a stranger's too: read within bounds, to colours of a handy size."""

import io
import itertools
import pathlib
import re
import stat
import warnings
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_flax.common.errors import UserError, require

# Some of Pillow's decoders call other programs, or are seldom used and little tested.
FORMATS = ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')

MOST_BYTES = 64 * 2**20
MOST_PIXELS = 8000 * 8000

# Of a JPEG, which is gone over anew for each; cameras write ten or so.
_MOST_SCANS = 100

# Numbers as text, which Pillow reads slowly, and with comments for hours.
_PLAIN = (b'P1', b'P2', b'P3')

# A JPEG's markers; in the data of a scan 0xff is followed by zero. Some have no length.
_MARKER = re.compile(b'\xff[^\x00\xff]')
_BARE = {0x01, *range(0xD0, 0xD9)}

_LEAST_SIDE = 8
_MOST_ASPECT = 50

# A digit that fills a tenth of a picture still has four times the pixels that MNIST gives
# it, and what follows takes some tenths of a second.
_SIDE = 1024

Colours = Float[np.ndarray, 'height width 3']

# A file by its name, the content of one, or pixels from 0 to 255: gray, RGB or RGBA.
Source = str | pathlib.Path | bytes | np.ndarray


def read(source: Source, name: str) -> Colours:
    """Reads a picture, upright, and on white or black where it is transparent.

    Args:
      source: The picture. Files are of one of `FORMATS`; of a moving picture the first
        frame is taken.
      name: What to call it in messages.

    Returns:
      Its colours, from 0 to 1, averaged over blocks of pixels if it has more than a
      thousand or two on a side.

    Raises:
      UserError: It is no picture, damaged, or too large or small.
    """
    if isinstance(source, np.ndarray):
        return _read_array(source, name)
    require(
        isinstance(source, str | pathlib.Path | bytes),
        f'{name}: found {type(source).__name__}; allowed: the name of a file, the content '
        'of one as bytes, or a NumPy array',
    )
    if not isinstance(source, bytes):
        source = _read_file(pathlib.Path(source), name)
    return _decode(source, name)


def _read_array(pixels: np.ndarray, name: str) -> Colours:
    shape = pixels.shape
    require(
        pixels.dtype == np.uint8
        and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))),
        f'{name}: found {pixels.dtype} numbers of shape {shape}; allowed: uint8 of shape '
        '(height, width), or with 1, 3 or 4 channels behind',
    )
    image = Image.fromarray(pixels[..., 0] if shape[2:] == (1,) else pixels)
    _check_size(image, name)
    return _to_colours(image)


def read_stream(stream: BinaryIO) -> bytes:
    """Reads what `read` takes, and enough of what is too long for it to notice."""
    return stream.read(MOST_BYTES + 1)


def _read_file(path: pathlib.Path, name: str) -> bytes:
    try:
        require(not path.is_dir(), f'{name}: found no pictures in it; allowed: some')
        # A pipe or a device could be read for ever.
        is_regular = stat.S_ISREG(path.stat().st_mode)
        require(is_regular, f'{name}: found no regular file; allowed: a picture')
        with path.open('rb') as file:
            return read_stream(file)
    except (OSError, ValueError) as error:  # a zero in its name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f'{name}: cannot be read ({reason}); allowed: a picture') from error


def _decode(content: bytes, name: str) -> Colours:
    require(bool(content), f'{name}: found an empty file; allowed: a picture')
    require(
        len(content) <= MOST_BYTES,
        f'{name}: found more than {MOST_BYTES >> 20} MiB; allowed: no more',
    )
    require(
        content[:2] not in _PLAIN,
        f'{name}: found a plain PNM; allowed: a binary one (P4, P5, P6)',
    )
    num_scans = _count_scans(content) if content[:2] == b'\xff\xd8' else 0
    require(
        num_scans <= _MOST_SCANS,
        f'{name}: found a JPEG of {num_scans} scans; allowed: up to {_MOST_SCANS}',
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd metadata
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_size(image, name)
                return _to_colours(image)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f'{name}: found more than {MOST_PIXELS:,} pixels; allowed: no more'
        ) from error
    except Exception as error:  # Pillow raises a dozen types for what is damaged
        # Of what it does not know at all it says no more than so.
        reason = '' if isinstance(error, UnidentifiedImageError) else f' ({error})'
        raise UserError(
            f'{name}: found no picture, or a damaged one{reason}; allowed: '
            f'{", ".join(FORMATS)}'
        ) from error


def _count_scans(jpeg: bytes) -> int:
    """Counts the scans of a JPEG's first picture; phones put films and more behind it."""
    number, place = 0, 2
    while found := _MARKER.search(jpeg, place):
        place, marker = found.end(), jpeg[found.end() - 1]
        if marker == 0xD9:  # the end
            break
        if marker not in _BARE:
            place += int.from_bytes(jpeg[place : place + 2])
        number += marker == 0xDA
    return number


def _check_size(image: Image.Image, name: str) -> None:
    # Pillow has read the header only: a small file can claim to hold terabytes.
    width, height = image.size
    # With a transparent colour it becomes RGBA before it is reduced.
    is_keyed = image.mode == 'RGB' and 'transparency' in image.info
    is_lean = image.format in (None, 'JPEG', 'MPO', 'PNG') and not is_keyed
    most = MOST_PIXELS if is_lean else MOST_PIXELS // 2
    require(
        min(width, height) >= _LEAST_SIDE and width * height <= most,
        f'{name}: found {width} x {height} pixels; allowed: {_LEAST_SIDE} or more each '
        f'way, and no more than {most:,} in all',
    )
    require(
        max(width, height) <= _MOST_ASPECT * min(width, height),
        f'{name}: found {width} x {height} pixels; allowed: one side up to '
        f'{_MOST_ASPECT} times the other',
    )
    compression = str(image.info.get('compression', ''))
    require(
        'jpeg' not in compression,
        f'{name}: found a TIFF with {compression}; allowed: another compression',
    )


def _to_colours(image: Image.Image) -> Colours:
    image.draft(image.mode, (_SIDE, _SIDE))  # a JPEG can be decoded at a half, ..., an 8th
    factor = max(1, max(image.size) // _SIDE)
    info = image.info
    if image.mode[0] in 'IF':
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
    seen = float((colours * alpha).sum() / max(3 * alpha.sum(), 1e-6))
    opaque = bool(alpha.min() > 0.99)
    behind = 0.0 if seen > 0.5 and not opaque else 1.0
    return colours * alpha + behind * (1 - alpha)


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """Averages over blocks, in bands: of what has an alpha channel Pillow makes a copy."""
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
    for i, j in itertools.product(range(factor), repeat=2):  # as all at once are too large
        means += pixels[i:height:factor, j:width:factor] / factor**2
    low, high = means.min(), means.max()
    if not np.isfinite([low, high]).all():
        raise ValueError('numbers that are infinite, or none')
    return np.round((means - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
