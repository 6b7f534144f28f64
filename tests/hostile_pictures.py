"""Picture files that are made to harm who decodes them, and one that is not."""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

_SIZE = 280


def _encode(image, file_format):
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def _draw_one():
    image = Image.new('L', (_SIZE, _SIZE), 255)
    image.paste(0, (130, 60, 150, 220))
    return image


DRAWING = _encode(_draw_one(), 'PNG')


def change(content: bytes, rng: random.Random, most: int = 8) -> bytes:
    """Changes up to so many places of a file at random, and may cut it off."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, most)):
        place = rng.randrange(len(changed))
        size = rng.choice([0, 1, 1, 1, 4])
        changed[place : place + size] = rng.randbytes(rng.choice([0, 1, 1, 4, 100]))
        if not changed:
            break
    if rng.random() < 0.2:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def tiff_of_fractions(tag: int = 282) -> bytes:
    """Its resolution, say, is two million fractions, which Pillow reads one by one."""
    fractions = bytes([1, 0, 0, 0, 7, 0, 0, 0]) * 1_900_000
    return _tiff({tag: (5, 1_900_000, 1000)}, fractions)


def tiff_of_a_huge_tile() -> bytes:
    """Decoding its only tile would take two gigabytes."""
    side, data = (4, 1, 46_288), zlib.compress(bytes(10**6))
    tags = {322: side, 323: side, 324: (4, 1, 1000), 325: (4, 1, len(data))}
    return _tiff({259: (3, 1, 8), 273: None, 279: None, **tags}, data)


def make() -> dict[str, bytes]:
    """Makes hostile files of up to 16 MiB, by what is the matter with them."""
    white = Image.new('L', (_SIZE, _SIZE), 255)
    jpeg, millions = _encode(white, 'JPEG'), 4_000_000
    quarter = _encode(Image.fromarray(np.zeros((1990, 1990), np.uint8)), 'PPM')[
        -(1990**2) :
    ]
    gif = b'GIF89a' + struct.pack('<HHBBB', 64, 64, 0x80, 0, 0) + bytes(6)
    return {
        'TIFF, resolution of two million fractions': tiff_of_fractions(),
        'TIFF of one huge tile': tiff_of_a_huge_tile(),
        'BigTIFF of 2^63 tags': b'II+\0\x08\0\0\0' + struct.pack('<QQ', 16, 2**63)
        + bytes(15 << 20),
        'JPEG, 16 MB of FF': jpeg[:2] + b'\xff' * (16 * 10**6) + jpeg[3:],
        'JPEG, four million empty comments': jpeg[:2] + b'\xff\xfe\0\x02' * millions
        + jpeg[2:],
        'PNG, a million empty chunks': _png(_chunk(b'quUx', b'') * 1_300_000),
        'PNG, orientation of two million fractions': _png(
            _chunk(b'eXIf', tiff_of_fractions(tag=274))
        ),
        'PNG, claims four terabytes': _png(b'', side=2**21),
        'PNG, text of a gigabyte': _png(
            _chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(2**30), 1))
        ),
        'PPM, comment of 16 MB': b'P5\n#' + b'a' * (16 * 10**6)
        + b'\n280 280\n255\n' + bytes(_SIZE**2),
        'PPM, 254 shades': b'P5 1990 1990 254\n' + quarter,
        'BMP, runs that never fill it': _bmp(1000, b'\x01\x01' * (8 * 10**6)),
        'GIF, 3 million comments': gif + b'!\xfe\x01a\0' * 3_200_000 + b';',
        'GIF, 16 MB between two blocks': gif + b'\x01' * (16 * 10**6) + b';',
        'plain PGM': b'P2 8 8 255 ' + b'7 ' * millions,
    }  # fmt: skip


def _chunk(name, content):
    size, sum_ = struct.pack('>I', len(content)), zlib.crc32(name + content)
    return size + name + content + struct.pack('>I', sum_)


def _png(more, side=_SIZE):
    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(_SIZE * (_SIZE + 1)))
    chunks = [_chunk(b'IHDR', header), more, _chunk(b'IDAT', pixels), _chunk(b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def _tiff(tags, data):
    """A TIFF with other tags: each a type, a count, and a value or place, or None."""
    tags = {
        256: (3, 1, _SIZE), 257: (3, 1, _SIZE), 258: (3, 1, 8), 259: (3, 1, 1),
        262: (3, 1, 1), 273: (4, 1, 1000), 279: (4, 1, _SIZE**2), **tags,
    }  # fmt: skip
    entries = [struct.pack('<HHII', tag, *of) for tag, of in sorted(tags.items()) if of]
    header = struct.pack('<2sHIH', b'II', 42, 8, len(entries))
    return (header + b''.join(entries)).ljust(1000, b'\0') + data


def _bmp(side, data):
    info = struct.pack('<IiiHHIIiiII', 40, side, side, 1, 8, 1, len(data), 0, 0, 0, 0)
    start = 14 + len(info) + 1024
    return (
        b'BM'
        + struct.pack('<IHHI', start + len(data), 0, 0, start)
        + info
        + bytes(1024)
        + data
    )
