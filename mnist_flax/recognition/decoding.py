"""The content of picture files, decoded within limits; `workers` does it in processes."""

import contextlib
import io
import itertools
import re
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError, features

from mnist_flax.common.errors import UserError, require

# Some of Pillow's decoders call other programs, or are seldom used and little tested.
FORMATS: tuple[str, ...] = ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')
FORMATS += ('AVIF',) if features.check('avif') else ()
with contextlib.suppress(ImportError):  # the extra `heic`
    import pillow_heif

    pillow_heif.register_heif_opener()
    FORMATS += ('HEIF',)

# What else people have, by how its content starts.
_OTHERS = {
    'HEIC': re.compile(rb'....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)', re.DOTALL),
    'AVIF': re.compile(rb'....ftypavi[fs]', re.DOTALL),
    'PDF': re.compile(rb'%PDF'),
    'SVG': re.compile(rb'\s*(<\?xml|<!--|<svg)'),
    'a web page': re.compile(rb'\s*<(!doctype html|html)', re.IGNORECASE),
}

MOST_BYTES = 64 * 2**20
MOST_PIXELS = 8000 * 8000

# Of a JPEG, which is decoded once for each; cameras write about ten.
_MOST_SCANS = 100

# Numbers as text, which Pillow reads slowly: with comments it can take hours.
_PLAIN = (b'P1', b'P2', b'P3')

# A JPEG's markers; in the data of a scan 0xff is followed by zero.
_MARKER = re.compile(b'\xff[^\x00\xff]')
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

# Tags of a TIFF.
_BITS, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323

_LEAST_SIDE = 8
_MOST_ASPECT = 50

# A large picture is reduced, its longer side to this or up to twice as many pixels. A digit
# that fills a tenth of it still has four times the pixels that MNIST gives it, and what
# follows takes some tenths of a second.
_SIDE = 1024

Pixels = UInt8[np.ndarray, 'height width channels']  # RGB or RGBA


def from_image(image: Image.Image, name: str, exact: bool) -> Pixels:
    """Converts an image of Pillow's, as `decode`; it stays as it is."""
    check_size(image, name)
    try:
        image.load()  # which leaves nothing that decoding could change
        return to_pixels(image, exact)
    except Exception as error:  # its file may be damaged
        raise UserError(f'{name}: the image cannot be used ({error})') from error


def decode(content: bytes, name: str, exact: bool) -> Pixels:
    """Decodes a picture of one of `FORMATS`, upright; of an animation the first frame.

    Args:
      content: The content of its file.
      name: What to call it in messages.
      exact: Whether gray of 12 or 16 bits keeps its scale. Otherwise gray of more than 8
        bits is stretched from its darkest to its brightest pixel.

    Returns:
      Its pixels; a large picture is averaged over blocks of pixels.

    Raises:
      UserError: It is not a picture, damaged, or too large or small.
    """
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
                check_size(image, name)
                return to_pixels(image, exact)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f'{name}: it has more than {MOST_PIXELS:,} pixels; make it smaller'
        ) from error
    except MemoryError as error:
        raise UserError(
            f'{name}: it takes too much memory to decode; save it as PNG'
        ) from error
    except Exception as error:  # Pillow raises a dozen types for damaged files
        if other := name_other(content):
            install = "install the extra heic (pip install -e '.[heic]'), or "
            advice = f'{install if other == "HEIC" else ""}save it as PNG or JPEG'
            raise UserError(
                f'{name}: it is {other}, which cannot be read; {advice}'
            ) from error
        # For an unknown format it gives no reason.
        reason = '' if isinstance(error, UnidentifiedImageError) else f' ({error})'
        raise UserError(
            f'{name}: it is damaged or not a picture{reason}; the formats are '
            f'{", ".join(FORMATS)}'
        ) from error


def count_pixels(content: bytes) -> int | None:
    """Reads from its header how many pixels a picture has.

    Returns:
      The number; 0 if it is damaged, and None if it is of no format in `FORMATS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return image.width * image.height
    except UnidentifiedImageError:
        return None
    except Exception:  # about which `decode` complains
        return 0


def name_other(content: bytes) -> str:
    """Names the kind of a file that is of no format in `FORMATS`; '' for others.

    Args:
      content: Its first hundred bytes, or more.
    """
    found = next((name for name, of in _OTHERS.items() if of.match(content[:1000])), '')
    can_be_read = {'HEIC': 'HEIF'}.get(found, found) in FORMATS  # so that it is damaged
    return '' if can_be_read else found


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


def check_size(image: Image.Image, name: str) -> None:
    """Checks how large a picture says it is.

    Raises:
      UserError: It is too large or small.
    """
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
    tags = getattr(image, 'tag_v2', {})
    tile = (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0))
    require(
        all(isinstance(side, int) for side in tile) and tile[0] * tile[1] <= most,
        f'{name}: it is a TIFF of tiles of {tile[0]} x {tile[1]} pixels; a tile may have '
        f'at most {most:,}',
    )


def to_pixels(image: Image.Image, exact: bool = False) -> Pixels:
    """Decodes an opened picture, as `decode`."""
    image.draft(image.mode, (_SIDE, _SIDE))  # JPEG can be decoded at 1/2, 1/4 or 1/8
    factor = max(1, max(image.size) // _SIDE)
    info = image.info
    if image.mode[0] in 'IF':
        # Of more than 8 bits Pillow does not heed that 0 is white.
        is_negative = getattr(image, 'tag_v2', {}).get(_PHOTOMETRIC) == 0
        gray = _shift(image) if exact else _to_bytes(np.asarray(image), factor)
        image = Image.fromarray(255 - gray if is_negative else gray)
        image = _reduce(image, factor) if exact else image
    else:
        if image.mode in ('1', 'P', 'PA') or 'transparency' in info:
            image = image.convert('RGBA' if image.has_transparency_data else 'RGB')
        image = _reduce(image, factor)
        image = image.convert('RGBA' if image.has_transparency_data else 'RGB')
    image.info = info
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # whatever Pillow makes of damaged metadata
        image.info = {}
    return np.asarray(image if image.mode == 'RGBA' else image.convert('RGB'))


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


def _shift(image: Image.Image) -> UInt8[np.ndarray, '_ _']:
    """Takes the upper 8 of 12 or 16 bits."""
    is_pgm = (image.format, image.mode) == ('PPM', 'I')  # brought to 16 bits by Pillow
    if not is_pgm and not image.mode.startswith('I;16'):
        raise ValueError('its pixels are numbers of 32 bits')
    (bits,) = getattr(image, 'tag_v2', {}).get(_BITS, (16,))
    return (np.asarray(image) >> (bits - 8)).astype(np.uint8)


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
