"""Whatever kind of PNG a data set has, it gives the images that it declares."""

import io
import json
import struct
import subprocess
import zlib

import numpy as np
import pytest
import tfds_directory
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnist_flax.data import pngs
from mnist_flax.data.decoding import decode, decode_all

RANDOM = np.random.default_rng(0)
GRAY = Image.fromarray(RANDOM.integers(0, 256, (6, 5), np.uint8))
COLOURS = Image.fromarray(RANDOM.integers(0, 256, (6, 5, 3), np.uint8))


def encode(image, name='png', **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def transparent(image):
    """Half of it cannot be seen, which is to be ignored."""
    changed = image.copy()
    changed.putalpha(Image.fromarray(np.full((6, 5), 99, np.uint8)))
    return changed


def in_16_bits(image):
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


PALETTE = COLOURS.quantize(8)
BITS = GRAY.point(lambda value: 255 * (value > 127)).convert('1')
KEYED = {'transparency': 7}

KINDS = {  # content, and what it shows
    'gray': (encode(GRAY), GRAY),
    'gray in colours': (encode(GRAY.convert('RGB')), GRAY),
    'gray with transparency': (encode(transparent(GRAY)), GRAY),
    'gray with a transparent value': (encode(GRAY, **KEYED), GRAY),
    'gray in colours with transparency': (encode(transparent(GRAY.convert('RGB'))), GRAY),
    'gray in 16 bits': (encode(in_16_bits(GRAY)), GRAY),
    'black and white': (encode(BITS), BITS),
    'colours': (encode(COLOURS), COLOURS),
    'colours with transparency': (encode(transparent(COLOURS)), COLOURS),
    'palette': (encode(PALETTE), PALETTE),
    'palette with a transparent colour': (encode(PALETTE, **KEYED), PALETTE),
    'palette of gray': (encode(GRAY.quantize(256)), GRAY.quantize(256)),
}


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_of_png_gives_one_image(kind, channels):
    content, shown = KINDS[kind]
    colours = np.asarray(shown.convert('RGB'), float)
    expected = colours if channels == 3 else colours @ [[0.299], [0.587], [0.114]]
    actual = decode(content, (6, 5, channels))
    assert actual.dtype == np.uint8
    np.testing.assert_allclose(actual, expected, atol=0.6)


def test_four_channels_keep_the_transparency():
    assert (decode(KINDS['colours with transparency'][0], (6, 5, 4))[..., 3] == 99).all()
    assert (decode(KINDS['gray'][0], (6, 5, 4))[..., 3] == 255).all()
    expected = [0, 255]  # of one colour, and of the others
    assert (
        np.unique(decode(encode(PALETTE, **KEYED), (6, 5, 4))[..., 3]).tolist() == expected
    )


def test_a_jpeg_is_decoded_too():
    image = GRAY.resize((16, 16))
    actual = decode(encode(image, 'jpeg', quality=100), (16, 16, 1))
    np.testing.assert_allclose(actual[..., 0], np.asarray(image), atol=2)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.randoms())
def test_what_is_encoded_comes_back(height, width, channels, random):
    pixels = np.frombuffer(random.randbytes(height * width * channels), np.uint8)
    pixels = pixels.reshape(height, width, channels)
    content = encode(Image.fromarray(pixels[..., 0] if channels == 1 else pixels))
    np.testing.assert_array_equal(decode(content, pixels.shape), pixels)


def test_an_image_of_another_size_is_refused():
    for function, content in ((decode, KINDS['gray'][0]), (decode_all, [KINDS['gray'][0]])):
        with pytest.raises(ValueError, match='an image of 5x6 pixels, not 6x6'):
            function(content, (6, 6, 1))


def png(lines, shape, order='HDDE', **other):
    """Makes a PNG of lines, each with its filter in front.

    Chunks are in this order: the header, the halves of the data, the end, and ``other``.
    """
    height, width, channels = shape
    colour_type, packed = {1: 0, 3: 2, 4: 6}[channels], zlib.compress(lines)
    data = iter((b'IDAT' + packed[:9], b'IDAT' + packed[9:]))
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, colour_type, 0, 0, 0)
    chunks = [
        next(data) if name == 'D' else {'H': header, 'E': b'IEND', **other}[name]
        for name in order
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk))
        for chunk in chunks
    )


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.randoms())
def test_many_at_once_are_what_pillow_decodes(height, width, channels, random):
    """With each of PNG's five filters; any bytes are an image, so that none is missed."""
    lines = np.frombuffer(random.randbytes(7 * height * (1 + width * channels)), np.uint8)
    lines = lines.reshape(7, height, -1).copy()
    lines[:, :, 0] %= 5
    shape = (height, width, channels)
    contents = [png(of.tobytes(), shape) for of in lines]
    expected = [decode(content, shape) for content in contents]
    np.testing.assert_array_equal(pngs.decode(contents, shape), expected)


@pytest.mark.parametrize('kind', KINDS)
def test_other_kinds_among_many_are_left_to_pillow(kind):
    contents = [KINDS['gray'][0], KINDS[kind][0]]
    expected = [decode(content, (6, 5, 1)) for content in contents]
    np.testing.assert_array_equal(decode_all(contents, (6, 5, 1)), expected)


@given(st.data())
def test_a_damaged_png_is_left_to_pillow(data):
    content = bytearray(encode(GRAY))
    place = data.draw(st.integers(0, len(content) - 13))  # not in the chunk that ends it
    content[place] ^= data.draw(st.integers(1, 255))
    assert pngs.decode([bytes(content)], (6, 5, 1)) is None


@pytest.mark.parametrize(
    'order', ['HDDXE', 'HXDDE', 'HDXDE', 'HDED', 'HEDD', 'HDD', 'HDDEX']
)
@pytest.mark.parametrize(
    'chunk',
    [
        b'IHDR' + struct.pack('>IIBBBBB', 5, 6, 8, 3, 0, 0, 0),  # a palette's, for Pillow
        b'tRNS' + b'\0\0',
        b'gAMA',
        b'fdAT' + b'\0\0\0\1' + zlib.compress(bytes(36)),  # another image, for Pillow
    ],
)
def test_other_chunks_are_left_to_pillow(order, chunk):
    """They may say that the pixels mean something else, or that the file is damaged."""
    lines = bytes(36)
    assert pngs.decode([png(lines, (6, 5, 1))], (6, 5, 1)) is not None
    assert pngs.decode([png(lines, (6, 5, 1), order, X=chunk)], (6, 5, 1)) is None


def test_a_few_bytes_do_not_become_gigabytes():
    lines = np.zeros((6, 6), np.uint8).tobytes()
    for stored in (
        lines + b'0',
        lines[:-1],
        lines * 10**6,
        lines[:-6] + b'\x05' + lines[:5],
    ):
        assert pngs.decode([png(stored, (6, 5, 1))], (6, 5, 1)) is None
    assert pngs.decode([png(lines, (6, 5, 1))], (6, 5, 1)) is not None


READ_BY_TENSORFLOW = """
import json, sys
import tensorflow_datasets as tfds
data = tfds.builder_from_directory(sys.argv[1]).as_dataset('test', shuffle_files=False)
print(json.dumps([example['image'].tolist() for example in data.as_numpy_iterator()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 3])
def test_tfds_with_tensorflow_decodes_the_same(tmp_path, monkeypatch, tensorflow, channels):
    contents = [content for content, _ in KINDS.values()]
    remaining = iter([*contents, *contents])  # each is in train and in test
    monkeypatch.setattr(tfds_directory, '_png', lambda image: next(remaining))
    shape = (6, 5, channels)
    images = np.zeros((len(contents), *shape), np.uint8)
    folder = tfds_directory.write(tmp_path, 'kinds', images, np.zeros(len(contents), int))
    process = subprocess.run(
        [tensorflow, '-c', READ_BY_TENSORFLOW, folder],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = np.array(json.loads(process.stdout.splitlines()[-1]))
    actual = np.array([decode(content, shape) for content in contents], int)
    # Colours become gray with roundings of their own.
    np.testing.assert_allclose(actual, expected, atol=1)
