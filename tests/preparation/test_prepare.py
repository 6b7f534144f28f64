"""The same pictures come out of every form, exactly."""

import json
import shutil
import signal
import subprocess
import sys
import time

import made_up_sources as made_up
import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_up_sources import IMAGES, LABELS, RANDOM, TEST, TRAIN
from PIL import Image
from prepared_sets import AS_THEY_ARE, FIELDS, assert_equal, read_back
from repository import ROOT

from mnist_flax.checkpointing import earlier_runs
from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets, shards
from mnist_flax.preparation import prepare as preparation
from mnist_flax.preparation.sources import Options


@pytest.mark.parametrize('file_format', ['tfrecord', 'array_record'])
@pytest.mark.parametrize(
    'make',
    [
        made_up.folder,
        made_up.idx,
        made_up.emnist,
        made_up.keras,
        made_up.medical,
        made_up.hugging_face,
    ],
)
def test_each_form_gives_the_same_pictures(prepare, tmp_path, make, file_format):
    read = prepare(made_up.write(make, tmp_path / 'source'), file_format=file_format)
    assert_equal(read('train'), IMAGES[TRAIN], LABELS[TRAIN])
    assert_equal(read('test'), IMAGES[TEST], LABELS[TEST])
    # Not in their order: training may hold out the last ones.
    assert (read('train').labels != LABELS[TRAIN]).any()


def test_what_is_not_split_gives_a_part_of_each_class_for_testing(prepare, tmp_path):
    source = made_up.write(made_up.table, tmp_path / 'source')
    read = prepare(source, pixels_shape=(12, 10))
    train, test = read('train'), read('test')
    assert np.bincount(train.labels).tolist() == [8, 8, 8, 8]  # 10 of each, less 25 %
    assert np.bincount(test.labels).tolist() == [2, 2, 2, 2]
    assert_equal(shards.concatenate([train, test]), IMAGES, LABELS)


def test_the_same_seed_draws_the_same(tmp_path):
    source = made_up.write(made_up.table, tmp_path / 'source')
    labels = []
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        settings = AS_THEY_ARE._replace(seed=seed)
        options = Options(pixels_shape=(12, 10))
        root = tmp_path / name
        preparation.prepare(source, root, 'mine', 'tfrecord', (), options, settings)
        labels.append(read_back(root, 'train').images)
    np.testing.assert_array_equal(labels[0], labels[1])
    assert (labels[0] != labels[2]).any()


def test_stock_tfds_reads_it(prepare, tmp_path):
    """Without TensorFlow; see the slow test for TFDS with it."""
    source = made_up.write(made_up.keras, tmp_path / 'source')
    prepare(source, file_format='array_record', class_names=('a', 'b', 'c', 'd'))
    builder = tfds.builder_from_directory(tmp_path / 'tfds/mine/1.0.0')
    assert builder.info.features['label'].names == ['a', 'b', 'c', 'd']
    assert builder.info.splits['train'].num_examples == 30
    read = list(builder.as_data_source('test'))
    images = np.stack([example['image'] for example in read])
    labels = np.array([example['label'] for example in read])
    assert_equal(shards.Examples(images, labels), IMAGES[TEST], LABELS[TEST])


READ_BY_TENSORFLOW = """
import json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
pairs = builder.as_dataset('test', as_supervised=True).as_numpy_iterator()
print(json.dumps([[image.tolist(), int(label)] for image, label in pairs]))
"""


@pytest.mark.slow
def test_tfds_with_tensorflow_reads_it(prepare, tmp_path, tensorflow):
    source = made_up.write(made_up.keras, tmp_path / 'source')
    prepare(source)
    process = subprocess.run(
        [tensorflow, '-c', READ_BY_TENSORFLOW, tmp_path / 'tfds/mine/1.0.0'],
        capture_output=True,
        text=True,
        check=True,
    )
    images, labels = zip(*json.loads(process.stdout.splitlines()[-1]), strict=True)
    read = shards.Examples(np.array(images, np.uint8), np.array(labels))
    assert_equal(read, IMAGES[TEST], LABELS[TEST])


@pytest.mark.parametrize(
    ('size', 'framing', 'expected'),
    [
        # The picture is white above and gray below, in a frame of black.
        (
            (8, 16),
            'pad',
            [[0] * 4 + [255] * 8 + [0] * 4] * 4 + [[0] * 4 + [9] * 8 + [0] * 4] * 4,
        ),
        ((8, 16), 'stretch', [[255] * 16] * 4 + [[9] * 16] * 4),
    ],
)
def test_pictures_are_resized_and_padded_or_stretched(
    prepare, tmp_path, capsys, size, framing, expected
):
    large = np.zeros((16, 16), np.uint8)
    large[:8], large[8:] = 255, 9
    large[:, 0] = large[:, -1] = large[0] = large[-1] = 0  # its edge
    pictures = [large, large.repeat(2, axis=0).repeat(2, axis=1)]
    for label in (0, 1):
        made_up.write_pictures(tmp_path / 'source', pictures, [label, label])
    settings = AS_THEY_ARE._replace(size=size, framing=framing, test_fraction=0.5)
    image = prepare(tmp_path / 'source', settings=settings)('train').images[0, ..., 0]
    # Apart from where colours meet.
    sure = [1, 2, 5, 6], [2, 6, 7, 8, 9, 13]
    inner = np.ix_(*sure)
    np.testing.assert_allclose(image[inner], np.array(expected)[inner], atol=2)
    said = capsys.readouterr().out
    how = {'pad': 'padded with the', 'stretch': 'stretched'}
    assert f'resized to 8x16 and {how[framing]}' in said


@pytest.mark.parametrize('channels', [1, 3])
def test_gray_and_colours_are_one_data_set(prepare, tmp_path, channels):
    gray = np.full((9, 9), 100, np.uint8)
    red = np.zeros((9, 9, 3), np.uint8)
    red[..., 0] = 255
    made_up.write_pictures(tmp_path / 'source', [gray, red, gray, red], [0, 0, 1, 1])
    settings = AS_THEY_ARE._replace(channels=channels % 3, test_fraction=0.5)
    read = prepare(tmp_path / 'source', settings=settings)
    examples = shards.concatenate([read('train'), read('test')])
    found = {tuple(image[4, 4].tolist()) for image in examples.images}
    assert found == ({(100,), (76,)} if channels == 1 else {(100, 100, 100), (255, 0, 0)})


def test_a_picture_is_read_upright_and_on_a_background(prepare, tmp_path):
    """As prediction reads it: turned by its EXIF, and not black where it is transparent."""
    for label in '01':
        (tmp_path / 'source' / label).mkdir(parents=True)
        for name in ('a', 'b'):
            picture = Image.new('LA', (12, 10), (0, 0))
            exif = picture.getexif()
            exif[0x0112] = 6  # turned by a quarter
            picture.save(tmp_path / 'source' / label / f'{name}.png', exif=exif)
    settings = AS_THEY_ARE._replace(test_fraction=0.5)
    images = prepare(tmp_path / 'source', settings=settings)('train').images
    assert images.shape[1:] == (12, 10, 1)
    assert (images == 255).all()


def test_copies_uneven_classes_and_dark_pictures_are_said(prepare, tmp_path, capsys):
    images = (IMAGES[:8] // 16)[[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2]]
    labels = [3, 3, 3, 3, 3, 5, 5, 9]
    np.savez(
        tmp_path / 'a.npz',
        x_train=images[:8], y_train=labels, x_test=images[8:], y_test=[3, 3, 11],
    )  # fmt: skip
    prepare(tmp_path / 'a.npz')
    assert capsys.readouterr().out.splitlines()[1:] == [
        '8 train, 3 test images of 12x10x1, 4 classes',
        'classes: 3, 5, 9, 11',
        'train images of each class: 3: 5, 5: 2, 9: 1, 11: 0',
        'classes that have test images only: 1 (11)',
        'classes that have train images only: 2 (5, 9)',
        '3 of the 3 test images are in train too, with the same pixels: the test accuracy '
        'will be too good',
        'no pixel is brighter than 15 of 255; see --white',
    ]


@pytest.mark.slow
def test_the_command_is_stopped_and_started_again(tmp_path):
    """What was half written has no name that TFDS or we would read."""
    source = tmp_path / 'a.npz'
    images = RANDOM.integers(0, 256, (8_000, 16, 16), np.uint8)
    np.savez(source, images=images, labels=np.arange(8_000) % 4)
    command = [
        sys.executable, ROOT / 'scripts/prepare.py', source, '--name=mine',
        f'--data_dir={tmp_path / "tfds"}',
    ]  # fmt: skip
    folder = tmp_path / 'tfds/mine'
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not list(folder.glob('.*/*train*')):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.name for path in folder.iterdir()] == ['.1.0.0.incomplete']
    with pytest.raises(UserError, match="'mine' is not in"):
        read_back(tmp_path / 'tfds', 'train')
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [path.name for path in folder.iterdir()] == ['1.0.0']
    lines = process.stdout.splitlines()
    assert lines[1] == '6,400 train, 1,600 test images of 16x16x1, 4 classes'
    assert lines[-1].endswith(
        f'--config.dataset.name=mine --config.dataset.data_dir={tmp_path / "tfds"}'
    )
    assert len(read_back(tmp_path / 'tfds', 'train').labels) == 6_400


def test_another_data_set_of_the_same_name_is_noticed(prepare, tmp_path):
    """So that a run is not resumed on it."""
    root = tmp_path / 'tfds'
    digests = []
    for number, images in enumerate((IMAGES, 255 - IMAGES)):
        path = tmp_path / f'{number}.npz'
        np.savez(path, x_train=images, y_train=LABELS)
        prepare(path)
        digests.append(datasets.load_split('mine', str(root), 'train', FIELDS).sha256)
        shutil.rmtree(root)
    ours, theirs = ({'dataset': {'name': 'mine', 'sha256': of}} for of in digests)
    assert [*earlier_runs.find_differences(ours, theirs)] == ['dataset.sha256']
    # Earlier versions did not note it.
    assert earlier_runs.find_differences(ours, {'dataset': {'name': 'mine'}}) == {}
