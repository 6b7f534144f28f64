import hashlib
import io
import re
import shlex
import shutil
import socket
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
import tfds_directory
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mnist_flax.data.datasets import datasets, shards
from mnist_flax.common.errors import UserError

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
    attempts = []

    def refuse(*arguments, **options):
        attempts.append(arguments)
        raise OSError('no network in this test')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    yield
    assert attempts == []


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / 'cache'
    monkeypatch.setattr(shards.platformdirs, 'user_cache_path', lambda name: folder)
    return folder


@pytest.fixture
def digits():
    random = np.random.default_rng(0)
    return (
        random.integers(0, 256, (40, 28, 28, 1), np.uint8),
        random.integers(0, 10, 40).astype(np.int32),
    )


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


def test_the_embedded_files_have_the_recorded_checksums():
    rows = (datasets.EMBEDDED_DIR / 'SHA256SUMS').read_text().splitlines()
    recorded = {name: digest for digest, name in (row.split() for row in rows)}
    found = {
        str(path.relative_to(datasets.EMBEDDED_DIR)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in (datasets.EMBEDDED_DIR / 'mnist').rglob('*')
        if path.is_file()
    }
    assert found == recorded


def test_normalize_maps_bytes_to_the_unit_interval():
    images = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28, 1)
    normalized = datasets.normalize(jnp.asarray(images))
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, images / 255.0, rtol=1e-6)


def test_the_holdout_is_the_last_part_of_the_training_split(mnist):
    dataset = load(validation='holdout', holdout_size=5000)
    np.testing.assert_array_equal(dataset.train.images, mnist.train.images[:-5000])
    np.testing.assert_array_equal(dataset.validation.images, mnist.train.images[-5000:])
    np.testing.assert_array_equal(dataset.validation.labels, mnist.train.labels[-5000:])
    np.testing.assert_array_equal(dataset.test.labels, mnist.test.labels)


@settings(max_examples=20)
@given(st.data())
def test_splits_follow_tfds_syntax(mnist, draw):
    start = draw.draw(st.integers(0, 59_998))
    stop = draw.draw(st.integers(start + 1, 60_000))
    dataset = load(train_split=f'train[{start}:{stop}]', test_split='test[-7:]+train[:3]')
    np.testing.assert_array_equal(dataset.train.labels, mnist.train.labels[start:stop])
    np.testing.assert_array_equal(
        dataset.test.labels,
        np.concatenate([mnist.test.labels[-7:], mnist.train.labels[:3]]),
    )
    np.testing.assert_array_equal(dataset.validation.images, dataset.test.images)


def test_per_cent_splits(mnist):
    dataset = load(train_split='train[10%:20%]')
    np.testing.assert_array_equal(dataset.train.labels, mnist.train.labels[6000:12_000])


def test_any_tfds_directory_of_such_images_loads(tmp_path, cache, digits):
    images, labels = digits
    tfds_directory.write(tmp_path, 'my_digits', images, labels)
    dataset = load(name='my_digits', data_dir=str(tmp_path), train_split='train[5:35]')
    np.testing.assert_array_equal(dataset.train.images, images[5:35])  # over both files
    np.testing.assert_array_equal(dataset.test.labels, labels)
    assert len(list(cache.iterdir())) == 3


def test_a_second_load_reads_the_cache(tmp_path, cache, digits, monkeypatch):
    tfds_directory.write(tmp_path, 'my_digits', *digits)
    first = load(name='my_digits', data_dir=str(tmp_path))
    monkeypatch.setattr(shards, '_decode', None)
    second = load(name='my_digits', data_dir=str(tmp_path))
    np.testing.assert_array_equal(first.train.images, second.train.images)


@pytest.mark.parametrize('damage', ['truncate', 'flip', 'empty'])
def test_a_damaged_cache_is_decoded_anew(tmp_path, cache, digits, damage):
    tfds_directory.write(tmp_path, 'my_digits', *digits)
    load(name='my_digits', data_dir=str(tmp_path))
    for path in cache.iterdir():
        path.write_bytes(damaged(path.read_bytes(), damage))
    dataset = load(name='my_digits', data_dir=str(tmp_path))
    np.testing.assert_array_equal(dataset.train.images, digits[0])


def test_a_cache_that_cannot_be_written_is_only_slower(tmp_path, cache, digits):
    cache.write_text('a file where the folder should be')
    tfds_directory.write(tmp_path, 'my_digits', *digits)
    dataset = load(name='my_digits', data_dir=str(tmp_path))
    np.testing.assert_array_equal(dataset.train.images, digits[0])


def damaged(content: bytes, damage: str) -> bytes:
    middle = len(content) // 2
    return {
        'truncate': content[:middle],
        'flip': content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        'empty': b'',
    }[damage]


def test_an_image_that_claims_to_be_huge_is_not_decoded(tmp_path, cache, monkeypatch):
    """A few bytes of PNG can stand for gigabytes; nor are rarer formats tried."""
    size = 9_000  # below what Pillow itself refuses
    images = np.zeros((1, 28, 28, 1), np.uint8)
    header = struct.pack('>2I5B', size, size, 8, 0, 0, 0, 0)
    chunk = b'IHDR' + header
    bomb = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', len(header)) + chunk
    bomb += struct.pack('>I', zlib.crc32(chunk)) + struct.pack('>I', 10**6) + b'IDAT'
    gif = io.BytesIO()
    Image.new('L', (28, 28)).save(gif, 'GIF')
    cases = ((bomb, f'{size}x{size} pixels'), (gif.getvalue(), 'identify'))
    for content, reason in cases:
        monkeypatch.setattr(tfds_directory, '_png', lambda image, content=content: content)
        root = tmp_path / reason.split()[0]
        tfds_directory.write(root, 'mnist', images.repeat(2, 0), np.array([1, 2]))
        with pytest.raises(UserError, match=f'data file .*: damaged .*{reason}'):
            datasets.load('mnist', str(root), 'train', 'test', 'test', 0)


@pytest.mark.parametrize('damage', ['truncate', 'flip', 'empty'])
@pytest.mark.parametrize('with_checksums', [True, False])
def test_a_damaged_data_file_is_reported_by_name(tmp_path, cache, damage, with_checksums):
    shutil.copytree(datasets.EMBEDDED_DIR, tmp_path / 'tfds')
    if not with_checksums:
        (tmp_path / 'tfds/SHA256SUMS').unlink()
    path = next((tmp_path / 'tfds').rglob('mnist-test*'))
    path.write_bytes(damaged(path.read_bytes(), damage))
    with pytest.raises(UserError, match=f'data file {path}: damaged'):
        load(data_dir=str(tmp_path / 'tfds'), train_split='test[:5]')


def test_a_tampered_description_is_reported_by_name(tmp_path, cache):
    shutil.copytree(datasets.EMBEDDED_DIR, tmp_path / 'tfds')
    path = tmp_path / 'tfds/mnist/3.0.1/features.json'
    path.write_text(path.read_text() + ' ')
    with pytest.raises(UserError, match=f'data file {path}: damaged; found sha256'):
        load(data_dir=str(tmp_path / 'tfds'))


def test_a_broken_list_of_checksums_is_reported(tmp_path, cache, digits):
    tfds_directory.write(tmp_path, 'my_digits', *digits)
    (tmp_path / 'SHA256SUMS').write_text('\nabc\n')
    with pytest.raises(UserError, match='SHA256SUMS: found a line that is not'):
        load(name='my_digits', data_dir=str(tmp_path))


def test_a_missing_data_file_is_reported_by_name(tmp_path, cache, digits):
    folder = tfds_directory.write(tmp_path, 'my_digits', *digits)
    path = next(folder.glob('*train*-00001-of-*'))
    path.unlink()
    with pytest.raises(UserError, match=f'data file {path}: cannot be read'):
        load(name='my_digits', data_dir=str(tmp_path))


def test_a_file_with_other_examples_than_described_is_reported(tmp_path, cache, digits):
    folder = tfds_directory.write(tmp_path, 'my_digits', *digits)
    info = folder / 'dataset_info.json'
    info.write_text(info.read_text().replace('"40"', '"41"'))
    with pytest.raises(UserError, match='data file .*: damaged; found 40 .* allowed: 41'):
        load(name='my_digits', data_dir=str(tmp_path))


def test_a_broken_description_is_reported(tmp_path, cache, digits):
    folder = tfds_directory.write(tmp_path, 'my_digits', *digits)
    (folder / 'dataset_info.json').write_text('{')
    with pytest.raises(UserError, match="the TFDS description of 'my_digits'"):
        load(name='my_digits', data_dir=str(tmp_path))


def test_images_of_another_shape_are_refused(tmp_path, cache):
    images = np.zeros((4, 32, 32, 3), np.uint8)
    tfds_directory.write(tmp_path, 'colours', images, np.zeros(4, np.int32))
    with pytest.raises(UserError, match=r'shape \(32, 32, 3\); allowed: uint8 .*28, 28, 1'):
        load(name='colours', data_dir=str(tmp_path))


def test_data_without_labels_is_refused(tmp_path, cache, digits):
    tfds_directory.write(tmp_path, 'unlabelled', *digits, label_key='answer')
    with pytest.raises(UserError, match='has the features answer, image; allowed'):
        load(name='unlabelled', data_dir=str(tmp_path))


def test_labels_outside_the_classes_are_refused(tmp_path, cache, digits):
    images, labels = digits
    folder = tfds_directory.write(tmp_path, 'my_digits', images, labels)
    features = folder / 'features.json'
    features.write_text(features.read_text().replace('"10"', '"5"'))
    with pytest.raises(UserError, match='labels from 0 to 9; allowed: 0 to 4'):
        load(name='my_digits', data_dir=str(tmp_path))


def test_another_file_format_is_refused_with_the_remedy(tmp_path, cache, digits):
    tfds_directory.write(tmp_path, 'my_digits', *digits, file_format='tfrecord')
    with pytest.raises(
        UserError, match='as tfrecord; allowed: array_record, as made by `python -c'
    ):
        load(name='my_digits', data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'name': 'mnits'}, "found 'mnits', .* such as 'mnist'"),
        (
            {'name': 'qqqqqqqq'},
            "found 'qqqqqqqq', .* the name of a data set that TFDS knows",
        ),
        ({'name': ''}, 'config.dataset'),
        ({'name': '../../etc'}, 'config.dataset'),
        ({'name': 'mnist:1.0.0'}, "allowed: the embedded version 'mnist:3.0.1'"),
        ({'data_dir': '/no/such/folder'}, "data_dir: found '/no/such/folder'"),
        ({'train_split': 'tran'}, r"train_split: found 'tran'; allowed: .*train \(60000\)"),
        ({'train_split': 'train[5:5]'}, r"train_split: found 'train\[5:5\]'"),
        ({'test_split': 'test[:10001]'}, r'test_split: found .* test \(10000\)'),
        ({'test_split': ''}, "test_split: found ''"),
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
