"""Data sets are read exactly; what is absent, damaged or of another kind is one line."""

import io
import re
import shlex
import shutil
import socket
import struct
import sys
import zlib
from unittest import mock

import numpy as np
import pytest
import tfds_directory
from PIL import Image

from mnist_flax.common import caches
from mnist_flax.common.errors import UserError
from mnist_flax.data import builders, datasets, shards

DEFAULT = {
    'name': 'mnist',
    'data_dir': '',
    'train_split': 'train',
    'test_split': 'test',
    'validation': 'test',
    'holdout_size': 5000,
}


def load(**changes):
    return datasets.load(**{**DEFAULT, **changes})


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    refuse = mock.Mock(side_effect=OSError('no network in this test'))
    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    yield
    refuse.assert_not_called()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / 'cache'
    monkeypatch.setattr(caches.platformdirs, 'user_cache_path', lambda name: folder)
    return folder


RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 28, 28, 1), np.uint8)
LABELS = RANDOM.integers(0, 10, 40).astype(np.int32)


@pytest.fixture
def load_written(tmp_path, cache):
    """Writes a data set once, breaks it if wanted, and loads it."""

    def run(break_it=lambda folder: None, images=IMAGES, **options):
        root = tmp_path / 'written'
        if not root.exists():
            labels = LABELS[: len(images)]
            break_it(tfds_directory.write(root, 'my_digits', images, labels, **options))
        return load(name='my_digits', data_dir=str(root), train_split='train[5:35]')

    return run


def test_mnist_is_the_real_one(mnist):
    assert mnist.full_name == 'mnist/3.0.1'
    assert mnist.class_names == tuple('0123456789')
    assert mnist.train.images.shape == (60_000, 28, 28, 1)
    assert mnist.test.images.shape == (10_000, 28, 28, 1)
    assert mnist.train.images.dtype == np.uint8
    # Counts of the digits 0..9, as in the original files.
    assert np.bincount(mnist.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(mnist.test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    # TFDS's hashed order, and LeCun's mean pixel, 33.318 (0.1307 of 255).
    assert mnist.test.labels[:5].tolist() == [2, 0, 4, 8, 7]
    assert mnist.train.images.mean() == pytest.approx(33.3184, abs=1e-4)


def test_the_holdout_is_the_last_part_of_the_training_split(mnist):
    dataset = load(validation='holdout', holdout_size=5000)
    np.testing.assert_array_equal(dataset.train.images, mnist.train.images[:-5000])
    np.testing.assert_array_equal(dataset.validation.images, mnist.train.images[-5000:])
    np.testing.assert_array_equal(dataset.validation.labels, mnist.train.labels[-5000:])
    np.testing.assert_array_equal(dataset.test.labels, mnist.test.labels)
    assert (dataset.validation_name, mnist.validation_name) == ('held-out', 'test')


def test_splits_follow_tfds_syntax(mnist):
    dataset = load(train_split='train[10%:20%]', test_split='test[-7:]+train[:3]')
    np.testing.assert_array_equal(dataset.train.images, mnist.train.images[6000:12_000])
    expected = np.concatenate([mnist.test.labels[-7:], mnist.train.labels[:3]])
    np.testing.assert_array_equal(dataset.test.labels, expected)
    np.testing.assert_array_equal(dataset.validation.images, dataset.test.images)


@pytest.mark.parametrize('file_format', ['tfrecord', 'array_record'])
def test_any_tfds_directory_of_such_images_loads_and_is_cached(
    load_written, cache, monkeypatch, file_format
):
    for _ in range(2):
        dataset = load_written(file_format=file_format)
        np.testing.assert_array_equal(dataset.train.images, IMAGES[5:35])  # from two files
        np.testing.assert_array_equal(dataset.test.labels, LABELS)
        assert len(list(cache.iterdir())) == 3
        monkeypatch.setattr(shards, '_decode', None)  # the second time it is not needed


def damaged(content: bytes, damage: str) -> bytes:
    middle = len(content) // 2
    return {
        'truncate': content[:middle],
        'flip': content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        'empty': b'',
    }[damage]


@pytest.mark.parametrize('damage', ['truncate', 'flip', 'empty', 'no folder'])
def test_a_cache_that_does_not_work_is_only_slower(load_written, cache, damage):
    if damage == 'no folder':
        cache.write_text('a file where the folder should be')
    else:
        load_written()
        for path in cache.iterdir():
            path.write_bytes(damaged(path.read_bytes(), damage))
    np.testing.assert_array_equal(load_written().test.images, IMAGES)


def huge_png(size):
    """The first bytes of a PNG that claims to be square, of this size."""
    header = b'IHDR' + struct.pack('>2I5B', size, size, 8, 0, 0, 0, 0)
    chunk = struct.pack('>I', len(header) - 4) + header
    checked = chunk + struct.pack('>I', zlib.crc32(header))
    return b'\x89PNG\r\n\x1a\n' + checked + struct.pack('>I', 10**6) + b'IDAT'


def gif():
    buffer = io.BytesIO()
    Image.new('L', (28, 28)).save(buffer, 'GIF')
    return buffer.getvalue()


@pytest.mark.parametrize(
    ('content', 'reason'),
    # 9,000 is below what Pillow itself refuses.
    [(huge_png(9_000), '9000x9000 pixels'), (gif(), 'cannot identify')],
)
def test_an_image_that_claims_to_be_huge_is_not_decoded(
    load_written, monkeypatch, content, reason
):
    """A few bytes of PNG can stand for gigabytes; nor are rarer formats tried."""
    monkeypatch.setattr(tfds_directory, '_png', lambda image: content)
    with pytest.raises(UserError, match=f'data file .*: damaged .*{reason}'):
        load_written()


@pytest.mark.parametrize(
    ('damage', 'with_checksums'),
    [('flip', True), ('flip', False), ('truncate', False), ('empty', False)],
)
def test_a_damaged_data_file_is_reported_by_name(tmp_path, cache, damage, with_checksums):
    root = tmp_path / 'tfds'
    shutil.copytree(builders.EMBEDDED_DIR, root)
    if not with_checksums:
        (root / 'SHA256SUMS').unlink()
    path = next(root.rglob('mnist-test*'))
    path.write_bytes(damaged(path.read_bytes(), damage))
    with pytest.raises(UserError, match=f'data file {path}: damaged'):
        load(data_dir=str(root), train_split='test[:5]')
    if with_checksums:
        path = root / 'mnist/3.0.1/features.json'
        path.write_text(path.read_text() + ' ')
        with pytest.raises(UserError, match=rf'data file {path}: damaged \(its sha256 is'):
            load(data_dir=str(root))


def write_metadata(text):
    return lambda folder: (folder / 'metadata.json').write_text(text)


def replace(name, old, new):
    def change(folder):
        path = folder / name
        path.write_text(path.read_text().replace(old, new))

    return change


@pytest.mark.parametrize(
    ('break_it', 'message'),
    [
        (
            lambda folder: (folder / '../../SHA256SUMS').resolve().write_text('\nabc\n'),
            'SHA256SUMS: each line must be a checksum and a file name',
        ),
        (
            lambda folder: next(folder.glob('*train*-00001-of-*')).unlink(),
            'data file .*train.*-00001-of-00002: cannot be read',
        ),
        (
            replace('dataset_info.json', '"40"', '"41"'),
            r'data file .*: damaged \(it has 40 examples, not 41\)',
        ),
        (replace('dataset_info.json', '}', ''), "the TFDS description of 'my_digits'"),
        (replace('features.json', '"10"', '"5"'), 'labels from 0 to 9; allowed: 0 to 4'),
        (write_metadata('{'), 'metadata.json: it cannot be read'),
        (write_metadata('[1]'), 'metadata.json: it cannot be read'),
        (write_metadata('[' * 200_000), 'metadata.json: it cannot be read'),
        (
            write_metadata('{"framing": "crop"}'),
            r"metadata.json: it cannot be read \(the framing 'crop' is none of pad",
        ),
        (write_metadata('{"framing": ["mnist"]}'), 'metadata.json: it cannot be read'),
    ],
)
def test_what_is_wrong_in_a_directory_is_reported(load_written, break_it, message):
    with pytest.raises(UserError, match=message):
        load_written(break_it)


def test_data_in_another_form_are_refused(load_written):
    other = replace('dataset_info.json', 'tfrecord', 'parquet')
    with pytest.raises(UserError, match='as parquet; allowed: tfrecord or array_record'):
        load_written(other)


def test_a_missing_library_for_array_record_is_named(load_written, monkeypatch):
    load_written(file_format='array_record')
    shutil.rmtree(caches.platformdirs.user_cache_path(''))
    monkeypatch.setitem(sys.modules, 'array_record', None)
    with pytest.raises(UserError, match='data file .*: array_record needs a library that'):
        load_written()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'images': np.zeros((40, 8, 8, 4), np.uint8)},
            r'uint8 images of shape \(8, 8, 4\); allowed: uint8 .* 1 or 3 channels',
        ),
        (
            {'label_key': 'answer'},
            "has the features answer, image; it must have an 'image'",
        ),
    ],
)
def test_data_of_another_kind_are_refused(load_written, options, message):
    with pytest.raises(UserError, match=message):
        load_written(**options)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'name': 'mnits'}, "'mnits' is not in .*; did you mean 'mnist'?"),
        ({'name': 'qqqqqqqq'}, 'TFDS knows no such data set or version; check the name'),
        ({'name': ''}, 'config.dataset'),
        ({'name': '../../etc'}, 'config.dataset'),
        ({'name': 'mnist:1.0.0'}, "'mnist:1.0.0' is not the embedded version, 'mnist:3"),
        ({'data_dir': '/no/such/folder'}, "data_dir: '/no/such/folder' is not a directory"),
        (
            {'train_split': 'tran'},
            r"train_split: found 'tran' .*allowed: .*train \(60000\)",
        ),
        ({'train_split': 'train[5:5]'}, r"found 'train\[5:5\]' .it selects no example"),
        ({'test_split': 'test[:10001]'}, r'test_split: found .* test \(10000\)'),
        ({'validation': 'holdout', 'holdout_size': 0}, 'holdout_size: found 0; allowed: 1'),
        ({'validation': 'holdout', 'holdout_size': 60_000}, 'allowed: 1 to 59999'),
    ],
)
def test_what_is_not_there_ends_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        load(**changes)
    assert '\n' not in str(caught.value)


def test_an_absent_data_set_is_explained_not_downloaded(tmp_path):
    with pytest.raises(UserError) as caught:
        load(name='fashion_mnist', data_dir=str(tmp_path))
    message = str(caught.value)
    program, _, code = shlex.split(re.search('`(.*)`', message)[1])
    assert program == 'python'
    compile(code, 'the command', 'exec')
    assert "'fashion_mnist', data_dir=" + repr(str(tmp_path)) in code
    assert '31 MB' in message
    assert 'TensorFlow' in message
    assert list(tmp_path.iterdir()) == []


def test_a_cache_for_which_the_memory_does_not_suffice_is_not_called_damaged(
    tmp_path, monkeypatch, caplog
):
    def run_out(*arguments):
        raise MemoryError

    monkeypatch.setattr(shards.np, 'load', run_out)
    with pytest.raises(MemoryError):
        shards._read_cache(tmp_path / 'cache.npz')
    assert not caplog.records
