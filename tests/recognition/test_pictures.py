"""Picture files of all kinds, also broken ones."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnist_flax.common.errors import UserError
from mnist_flax.recognition import decoding, pictures


def encode(image, file_format='PNG', **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def half_black(mode='L'):
    """40 x 20 pixels, the left half of them black and the right one white."""
    pixels = np.repeat([[0, 255]], 20, axis=1).repeat(20, axis=0).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ('file_format', 'mode'),
    [
        *((file_format, 'RGB') for file_format in decoding.FORMATS),
        *(('PNG', mode) for mode in ('1', 'L', 'P', 'RGBA', 'LA', 'I;16')),
        ('TIFF', 'I'),
        ('TIFF', 'F'),
    ],
)
def test_every_format_and_kind_of_pixel_is_read(file_format, mode):
    image = half_black()
    if mode == 'I;16':  # twelve bits of sixteen, as cameras have
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 16)
    else:
        image = image.convert(mode)
    colours = pictures.read(encode(image, file_format), 'picture')
    assert colours.shape == (20, 40, 3)
    blur = 4 if file_format in ('JPEG', 'WEBP', 'AVIF', 'HEIF') else 0
    np.testing.assert_allclose(colours[:, : 20 - blur], 0, atol=0.05)
    np.testing.assert_allclose(colours[:, 20 + blur :], 1, atol=0.05)


def write_tiff(pixels, bits, photometric):
    """A TIFF of 12 or 16 bits, in which 0 can be white, as Pillow does not write it."""
    content = encode(Image.fromarray(pixels), 'TIFF')
    for tag, old, new in ((258, 16, bits), (262, 1, photometric)):
        old, new = (struct.pack('<HHII', tag, 3, 1, of) for of in (old, new))
        assert content.count(old) == 1
        content = content.replace(old, new)
    if bits == 12:
        each = np.unpackbits(pixels.astype('>u2').view(np.uint8)).reshape(-1, 16)[:, 4:]
        data = np.packbits(each).tobytes().ljust(pixels.nbytes)
        content = content.replace(pixels.tobytes(), data)
    return content


GRAY = np.where(np.asarray(half_black()) > 0, 0xC000, 0x4000).astype(np.uint16)


@pytest.mark.parametrize(
    ('content', 'kept', 'stretched'),
    [
        (write_tiff(GRAY, 16, 1), (64, 192), (0, 255)),
        (write_tiff(GRAY, 16, 0), (191, 63), (255, 0)),
        (write_tiff(GRAY >> 4, 12, 1), (64, 192), (0, 255)),
        (b'P5 40 20 65535\n' + GRAY.astype('>u2').tobytes(), (64, 192), (0, 255)),
        (b'P5 40 20 4095\n' + (GRAY >> 4).astype('>u2').tobytes(), (64, 192), (0, 255)),
    ],
)
def test_gray_of_more_than_8_bits_keeps_its_scale_or_is_stretched(content, kept, stretched):
    for exact, expected in ((True, kept), (False, stretched)):
        for source in (content, Image.open(io.BytesIO(content))):
            colours = pictures.read(source, 'picture', exact)
            assert (255 * colours[9, [0, 39], 0]).round().tolist() == [*expected]


def test_a_photograph_is_turned_upright():
    image = half_black()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    for size in (1, 100):  # and if it is made smaller
        large = image.resize((40 * size, 20 * size))
        for file_format in ('JPEG', 'PNG', 'WEBP'):
            content = encode(large, file_format, exif=exif)
            colours = pictures.read(content, 'picture')
            height, width, _ = colours.shape
            assert height == 2 * width
            assert colours[: height // 4].max() < 0.1
            assert colours[-height // 4 :].min() > 0.9


@pytest.mark.parametrize('drawn', [0, 255])
def test_what_is_drawn_on_a_transparent_background_is_seen(drawn):
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 8:12] = 255
    pixels = np.full((20, 20, 4), drawn, np.uint8)
    pixels[..., 3] = alpha
    colours = pictures.read(encode(Image.fromarray(pixels)), 'picture')
    assert abs(colours[10, 10] - colours[0, 0]).min() == 1
    # Hidden pixels can have any colour.
    pixels[alpha == 0, :3] = drawn ^ 255
    hidden = pictures.read(encode(Image.fromarray(pixels)), 'picture')
    np.testing.assert_array_equal(hidden, colours)


def test_one_colour_can_be_transparent_and_an_animation_shows_its_first_frame():
    image = half_black('P')
    content = encode(image, transparency=image.getpixel((39, 0)))
    assert pictures.read(content, 'picture')[0, 39].min() == 1
    white = Image.new('L', (40, 20), 255)
    content = encode(half_black(), 'GIF', save_all=True, append_images=[white])
    assert pictures.read(content, 'picture')[0, 0].max() == 0


def test_arrays_are_pictures():
    pixels = np.asarray(half_black())
    expected = pictures.read(encode(half_black()), 'picture')
    for array in (pixels, pixels[..., None], np.stack([pixels] * 3, axis=-1)):
        np.testing.assert_array_equal(pictures.read(array, 'picture'), expected)
    for array in (pixels.astype(float), pixels[0], np.zeros((20, 20, 2), np.uint8)):
        with pytest.raises(UserError, match='picture: the array is .* must be uint8'):
            pictures.read(array, 'picture')


def test_a_large_picture_is_averaged():
    pixels = np.zeros((3000, 4000), np.uint8)
    pixels[::2] = 255
    for file_format in ('PNG', 'JPEG'):
        content = encode(Image.fromarray(pixels), file_format)
        colours = pictures.read(content, 'picture')
        assert 1000 <= max(colours.shape) <= 2000
        np.testing.assert_allclose(colours.mean(), 0.5, atol=0.02)


@pytest.mark.parametrize('mode', ['P', 'PA'])
def test_of_a_large_picture_with_a_palette_the_colours_are_averaged(mode):
    pixels = np.zeros((2100, 2100), np.uint8)
    pixels[::2] = 2
    image = Image.fromarray(pixels)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = pictures.read(encode(image.convert(mode), 'TIFF'), 'picture')
    np.testing.assert_allclose(colours[9, 9], (0.5, 0, 0.5), atol=0.02)


def claim(width, height):
    """A PNG of a few bytes that claims to be large."""
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(bytes(100))), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content)) + name + content
        + struct.pack('>I', zlib.crc32(name + content))
        for name, content in chunks
    )  # fmt: skip


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'digit', 'it is damaged or not a picture; the formats are PNG, JPEG'),
        (claim(100_000, 100_000), 'it has more than 64,000,000 pixels'),
        (claim(10_000, 10_000), 'it has 10000 x 10000 pixels; it should have at least 8 '),
        (claim(7, 100), 'it has 7 x 100 pixels; it should have at least 8 in each'),
        (claim(8, 401), 'it has 8 x 401 pixels; the longer side may be at most 50 times'),
        (claim(5000, 5000), 'it is damaged or not a picture ('),
        (encode(half_black())[:-30], 'it is damaged or not a picture ('),
        (encode(half_black(), 'JPEG')[:300], 'it is damaged or not a picture ('),
        (encode(half_black(), 'AVIF')[:-30], 'it is damaged or not a picture'),
        (encode(half_black(), 'PDF'), 'it is PDF, which cannot be read; save it as PNG'),
        (b'<?xml version="1.0"?><svg>', 'it is SVG, which cannot be read; save it as PNG'),
        (
            b'<!DOCTYPE html><p>',
            'it is a web page, which cannot be read; save it as PNG or',
        ),
        (b'\0\0\0\x18ftypheic' + bytes(99), 'it is damaged or not a picture'),
        (b'P2 8 8 255 ' + b'7 ' * 64, 'it is a plain PNM; save it as a binary one'),
        (bytes(decoding.MOST_BYTES + 1), 'the file is larger than 64 MiB'),
    ],
)
def test_what_is_not_a_picture_is_one_clear_line(content, message):
    with pytest.raises(UserError) as info:
        pictures.read(content, 'it')
    assert str(info.value).startswith(f'it: {message}')


def test_what_is_not_a_file_is_one_clear_line_at_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for name, reason in (
        ('pipe', 'it is not a regular file'),
        ('.', 'this folder holds no pictures'),
        ('absent', 'it cannot be read (No such file or directory)'),
        ('long' * 100, 'it cannot be read (File name too long)'),
    ):
        with pytest.raises(UserError) as info:
            pictures.read(tmp_path / name, 'it')
        assert str(info.value).startswith(f'it: {reason}')
    with pytest.raises(UserError, match=r'it: it cannot be read \(.*embedded null'):
        pictures.read(tmp_path / 'zero\0', 'it')


def some_picture(file_format):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 30, 3)).astype(np.uint8)
    return encode(Image.fromarray(pixels), file_format)


@given(
    content=st.sampled_from([some_picture(name) for name in decoding.FORMATS]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), max_size=8),
    end=st.none() | st.integers(0, 2000),
)
def test_damage_anywhere_is_a_picture_or_one_line(content, changes, end):
    for place, replacement in changes:
        place %= len(content)
        content = content[:place] + replacement + content[place + len(replacement) :]
    content = content[:end]
    try:
        colours = pictures.read(content, 'it')
    except UserError as error:
        assert str(error).startswith('it: ')
        assert str(error).isprintable()
    else:
        assert colours.min() >= 0
        assert colours.max() <= 1


def test_a_jpeg_of_many_scans_is_refused_and_a_video_behind_it_is_not_one():
    film = np.random.default_rng(0).bytes(12 * 2**20)  # as phones append
    assert film.count(b'\xff\xda') > 100
    photograph = encode(half_black(), 'JPEG')
    read = pictures.read(photograph + film, 'it')
    np.testing.assert_array_equal(read, pictures.read(photograph, 'it'))
    whole = encode(half_black(), 'JPEG', progressive=True)
    start = whole.index(b'\xff\xda')
    scan = whole[start : whole.index(b'\xff', start + 2)]
    with pytest.raises(UserError, match=r'it is a JPEG of 10\d\d scans; it may have up to'):
        pictures.read(whole[:start] + 1000 * scan + whole[start:], 'it')
