"""The same pictures come out of every form, exactly; what is wrong is one line."""

import functools
import gzip
import json
import shutil
import signal
import subprocess
import sys
import time

import made_up_sources as made_up
import numpy as np
import pyarrow
import pytest
import tensorflow_datasets as tfds
from made_up_sources import IMAGES, LABELS, RANDOM, TEST, TRAIN
from PIL import Image
from pyarrow import parquet
from repository import ROOT

from mnist_flax.checkpointing import workdirs
from mnist_flax.common.errors import UserError
from mnist_flax.data import builders, datasets, shards
from mnist_flax.data.builders import Fields
from mnist_flax.preparation import classes
from mnist_flax.preparation import prepare as preparation
from mnist_flax.preparation.prepare import Settings
from mnist_flax.preparation.sources import Options

FIELDS = Fields('name', 'data_dir', 'split')
AS_THEY_ARE = Settings(None, False, 0, 0.25, 0)


@pytest.fixture(autouse=True)
def _no_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setattr(shards.platformdirs, 'user_cache_path', lambda name: folder)


@pytest.fixture
def prepare(tmp_path):
    """Prepares 'mine' and returns what is read of a split."""

    def run(source, *, file_format='tfrecord', class_names=(), settings=None, **options):
        root = tmp_path / 'tfds'
        preparation.prepare(
            source,
            root,
            'mine',
            file_format,
            class_names,
            Options(**options),
            settings or AS_THEY_ARE,
        )
        return functools.partial(read_back, root)

    return run


def read_back(root, split):
    """Reads with the reader of training, apart from its demand for a shape."""
    builder = builders.find('mine', root, FIELDS)
    return datasets._read_split(builder, {}, split, FIELDS)


def in_order(examples):
    """Sorts examples, since they are stored in a random order."""
    order = np.lexsort(examples.images.reshape(len(examples.images), -1).T)
    return examples.images[order], examples.labels[order]


def assert_equal(examples, images, labels):
    wanted = shards.Examples(images.reshape(len(images), 12, 10, -1), labels)
    for actual, expected in zip(in_order(examples), in_order(wanted), strict=True):
        np.testing.assert_array_equal(actual, expected)


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
    ('size', 'stretch', 'expected'),
    [
        # The picture is white above and gray below, in a frame of black.
        (
            (8, 16),
            False,
            [[0] * 4 + [255] * 8 + [0] * 4] * 4 + [[0] * 4 + [9] * 8 + [0] * 4] * 4,
        ),
        ((8, 16), True, [[255] * 16] * 4 + [[9] * 16] * 4),
    ],
)
def test_pictures_are_resized_and_padded_or_stretched(
    prepare, tmp_path, capsys, size, stretch, expected
):
    large = np.zeros((16, 16), np.uint8)
    large[:8], large[8:] = 255, 9
    large[:, 0] = large[:, -1] = large[0] = large[-1] = 0  # its edge
    pictures = [large, large.repeat(2, axis=0).repeat(2, axis=1)]
    for label in (0, 1):
        made_up.write_pictures(tmp_path / 'source', pictures, [label, label])
    settings = AS_THEY_ARE._replace(size=size, stretch=stretch, test_fraction=0.5)
    image = prepare(tmp_path / 'source', settings=settings)('train').images[0, ..., 0]
    # Apart from where colours meet.
    sure = [1, 2, 5, 6], [2, 6, 7, 8, 9, 13]
    inner = np.ix_(*sure)
    np.testing.assert_allclose(image[inner], np.array(expected)[inner], atol=2)
    said = capsys.readouterr().out
    assert f'resized to 8x16 and {"stretched" if stretch else "padded with the"}' in said


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


def break_labels(source):
    next(source.glob('train-labels*')).unlink()


def break_images(source):
    path = next(source.glob('train-images*'))
    path.write_bytes(path.read_bytes()[:1500])


def shorten_images(source):
    path = next(source.glob('train-images*'))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))


def remove_images(source):
    for path in source.glob('*images*'):
        path.unlink()


def claim_terabytes(source):
    header = made_up.to_idx(IMAGES)[:4] + b'\xff' * 12
    next(source.glob('train-images*')).write_bytes(gzip.compress(header))


def cut_header(source):
    (source / 't10k-images.idx3-ubyte').write_bytes(made_up.to_idx(IMAGES)[:10])


def arrays(**arrays):
    return lambda path: np.savez(path, **arrays)


def lines(*lines):
    return lambda path: path.write_text('\n'.join(lines) + '\n')


def content(content):
    return lambda path: path.write_bytes(content)


def break_parquet(source):
    next(source.glob('data/train*')).write_bytes(b'PAR1')


IDX, NPZ, CSV, PARQUET = made_up.idx, made_up.keras, made_up.table, made_up.hugging_face


@pytest.mark.parametrize(
    ('make', 'break_it', 'message'),
    [
        (IDX, break_labels, 'the labels train-labels-idx1-ubyte or .* not beside it'),
        (IDX, break_images, 'ended before the end-of-stream'),
        (IDX, shorten_images, 'should hold 3,600 bytes of data, and holds 3,599'),
        (IDX, remove_images, 'it holds labels; the pictures must be beside them'),
        (IDX, claim_terabytes, 'does not fit in memory'),
        (IDX, cut_header, 'its header is damaged'),
        (NPZ, arrays(x_train=np.array([{}] * 3), y_train=[1, 2, 3]), 'Python objects'),
        (NPZ, arrays(x_train=IMAGES, y_train=LABELS[:9]), r'labels of shape \(9,\)'),
        (NPZ, arrays(x_train=IMAGES[0], y_train=LABELS), r'of shape \(12, 10\)'),
        (NPZ, arrays(x_train=IMAGES / 255, y_train=LABELS), 'fractions, from 0 to 1'),
        (NPZ, arrays(x_train=IMAGES * 9.0, y_train=LABELS), 'from 0.0 to 2295.0'),
        (NPZ, arrays(x_train=IMAGES, y_train=LABELS / 2), 'must be whole numbers'),
        (NPZ, arrays(x_train=IMAGES, y_train=LABELS * 0), 'all .* have the label 0'),
        (NPZ, arrays(x_test=IMAGES, y_test=LABELS), 'no images named train'),
        (NPZ, arrays(x_train=IMAGES[:0], y_train=LABELS[:0]), 'no pictures in'),
        (NPZ, arrays(foo=IMAGES, bar=LABELS), 'holds the arrays foo, bar'),
        (
            NPZ,
            arrays(x_train=IMAGES, y_train=LABELS, x_test=IMAGES),
            'only x_test is there',
        ),
        (
            NPZ,
            arrays(x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:, 1:], y_test=LABELS),
            'several sizes .*: 40 of 12x10, 40 of 11x10',
        ),
        (NPZ, content(b'PK'), 'not a zip file'),
        (CSV, content(b'\xff\xfe\x00'), 'cannot be read'),
        (CSV, lines('a,b', '1,2'), "one of them 'label'"),
        (CSV, lines('a,label', '1,2'), '1 x 1 pixels'),
        (CSV, lines('label,a,b', '1,2,3'), '2 columns of pixels'),
        (CSV, lines('label,a', '1,2,3'), 'picture 1: it has 3 columns, not 2'),
        (CSV, lines('label,a', '1,x'), 'picture 1: could not convert'),
        (CSV, lines('label,a', '1,nan'), 'from nan to nan'),
        (PARQUET, break_parquet, 'cannot be read'),
    ],
)
def test_a_bad_source_is_one_line_and_leaves_nothing(
    prepare, tmp_path, make, break_it, message
):
    source = made_up.write(make, tmp_path / 'source')
    break_it(source)
    with pytest.raises(UserError, match=message) as caught:
        prepare(source)
    assert '\n' not in str(caught.value)
    assert not [*(tmp_path / 'tfds').glob('*')]


def test_pictures_of_several_sizes_are_counted(prepare, tmp_path):
    sizes = [(8, 9)] * 3 + [(9, 8)]
    pictures = [np.zeros(size, np.uint8) for size in sizes]
    made_up.write_pictures(tmp_path / 'source', pictures, [0, 0, 1, 1])
    with pytest.raises(UserError, match='3 of 8x9, 1 of 9x8; choose one by --size=HxW'):
        prepare(tmp_path / 'source')


def test_all_unreadable_pictures_are_counted(prepare, tmp_path):
    source = made_up.write(made_up.folder, tmp_path / 'source')
    for path in sorted(source.rglob('*.png'))[:3]:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(
        UserError, match='3 of 40 pictures cannot be read; the first is .*png'
    ):
        prepare(source)


def test_pictures_that_fill_the_memory_are_refused_in_time(prepare, tmp_path, monkeypatch):
    source = made_up.write(made_up.folder, tmp_path / 'source')
    monkeypatch.setattr(preparation.memory, 'count_bytes', lambda: 4 * 1000)
    with pytest.raises(UserError, match='fill a quarter of the memory'):  # at the ninth
        prepare(source)


def test_large_pictures_need_a_size(prepare, tmp_path):
    large = np.zeros((1100, 1100), np.uint8)
    made_up.write_pictures(tmp_path / 'source', [large] * 4, [0, 0, 1, 1])
    with pytest.raises(UserError, match='more than 1023 pixels a side'):
        prepare(tmp_path / 'source')
    prepare(
        tmp_path / 'source', settings=AS_THEY_ARE._replace(size=(8, 8), test_fraction=0.5)
    )


def test_a_data_set_is_not_overwritten(prepare, tmp_path):
    source = made_up.write(made_up.keras, tmp_path / 'source')
    prepare(source)
    with pytest.raises(UserError, match='mine is there already; delete it'):
        prepare(source)


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


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['a.npz'], "--name: found ''; allowed: small letters"),
        (
            ['a.npz', '--name=My-Digits'],
            "--name: found 'My-Digits'; allowed: small letters",
        ),
        (['a.npz', '--name=mine', '--size=28'], "--size: found '28'; allowed: height and"),
        (['a.npz', '--name=mine', '--size=0x9'], "--size: found '0x9'"),
        (['a.npz', 'b.npz', '--name=mine'], 'one SOURCE is needed, found 2'),
        (['nothing.npz', '--name=mine'], 'nothing.npz: there is no such file or folder'),
        (['.', '--name=mine'], 'it has 0 folders'),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(command, tmp_path, flags, message):
    process = command(ROOT / 'scripts/prepare.py', *flags, cwd=tmp_path)
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stderr.count('\n') == 1


def write_folders(root, *folders):
    """Writes two pictures into each folder, of which each has a gray of its own."""
    for number, folder in enumerate(folders):
        for i in range(2):
            path = root / folder / f'{i}.PNG'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('L', (9, 9), 10 + number).save(path)
    return root


@pytest.mark.parametrize(
    ('folders', 'splits'),
    [
        (('training/a', 'training/b', 'testing/a'), {'train': 4, 'test': 2}),
        (('Train/a', 'Train/b', 'TEST/b', 'val/a'),
         {'train': 4, 'test': 2, 'validation': 2}),
        (('train', 'bus'), {'train': 2, 'test': 2}),  # vehicles
    ],
)  # fmt: skip
def test_folders_are_splits_or_classes(prepare, tmp_path, folders, splits):
    settings = AS_THEY_ARE._replace(test_fraction=0.5)
    read = prepare(write_folders(tmp_path / 'source', *folders), settings=settings)
    assert {name: len(read(name).labels) for name in splits} == splits


@pytest.mark.parametrize(
    ('folders', 'message'),
    [
        (('train/a', 'train/b', 'test'), 'neither all splits, .* nor all classes'),
        (('train', 'test'), 'neither all splits, .* nor all classes'),
        (('train/a', 'train/b', 'docs'), 'neither all splits, .* nor all classes'),
        (('val/a', 'val/b', 'test/a'), 'there are test and validation, but no images'),
        (('train/a', 'test/a'), 'has 1 folders of classes; it must have one'),
    ],
)
def test_folders_that_could_be_both_are_refused(prepare, tmp_path, folders, message):
    with pytest.raises(UserError, match=message):
        prepare(write_folders(tmp_path / 'source', *folders))


def test_links_are_followed_and_other_files_counted(prepare, tmp_path, capsys):
    source = write_folders(tmp_path / 'source', 'a', 'b')
    write_folders(tmp_path / 'elsewhere', 'more')
    (source / 'b/link').symlink_to(tmp_path / 'elsewhere')
    (source / 'b/circle').symlink_to(source / 'b')
    for name in ('1.heic', '2.HEIC', 'notes', '.hidden'):
        (source / 'a' / name).write_bytes(b'')
    read = prepare(source, settings=AS_THEY_ARE._replace(test_fraction=0.5))
    assert len(read('train').labels) + len(read('test').labels) == 6
    said = capsys.readouterr().out
    assert 'left out: 2 of .heic, 1 of no suffix' in said


@pytest.mark.parametrize(
    ('labels', 'class_names', 'expected'),
    [
        (['10', '9', '2'], (), ['10', '9', '2']),  # in the order of the numbers
        (['10', '9', '2'], ('a', 'b', 'c'), ['c', 'b', 'a']),
        (['1.0', '0.0', '2.0'], ('a', 'b', 'c', 'd'), ['b', 'a', 'c']),
        (['01', '1', '2'], (), ['01', '1', '2']),
        (['A', '1', 'b'], (), ['A', '1', 'b']),
        ([-1, 1, 5], (), ['-1', '1', '5']),
    ],
)
def test_labels_are_numbers_or_names(labels, class_names, expected):
    names, numbered = classes.number({'all': labels}, None, class_names)
    assert [names[label] for label in numbered['all']] == expected


def test_classes_that_have_names_are_not_renamed(prepare, tmp_path):
    source = write_folders(tmp_path / 'source', 'cat', 'dog')
    with pytest.raises(UserError, match='these have names: cat, dog'):
        prepare(source, class_names=('dog', 'cat'))


def test_gray_of_16_bits_keeps_its_scale(prepare, tmp_path):
    for label, value in (('dark', 1000), ('light', 60_000)):
        (tmp_path / 'source' / label).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((9, 9), value + i, np.uint16)
            Image.fromarray(pixels).save(tmp_path / f'source/{label}/{i}.png')
    read = prepare(tmp_path / 'source', settings=AS_THEY_ARE._replace(test_fraction=0.5))
    images, labels = read('train')
    assert [images[labels == label].max() for label in (0, 1)] == [3, 234]


def test_black_and_white_pictures_are_not_dark(prepare, tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, x_train=IMAGES > 127, y_train=LABELS)
    assert set(np.unique(prepare(path)('train').images)) == {0, 255}


@pytest.mark.parametrize('name', ['digits.csv', 'DIGITS.CSV.GZ'])
def test_tables_of_spreadsheets_are_read(prepare, tmp_path, name):
    text = '\ufeff' + made_up.write(made_up.table, tmp_path / 'source').read_text()
    content = text.replace('\n', '\r\n').encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith('GZ') else content)
    read = prepare(path, pixels_shape=(12, 10))
    assert_equal(shards.concatenate([read('train'), read('test')]), IMAGES, LABELS)


def test_parquet_files_of_other_layouts_are_read(prepare, tmp_path):
    source = made_up.write(made_up.hugging_face, tmp_path / 'source')
    for split in ('train', 'test'):
        path = next(source.glob(f'data/{split}-*'))
        table = parquet.read_table(path).replace_schema_metadata()
        labels = table['label'].to_numpy().astype(float)
        place = source / 'default' / split
        place.mkdir(parents=True)
        table = table.set_column(1, 'label', pyarrow.array(labels))
        parquet.write_table(table, place / '0000.parquet')
        path.unlink()
    read = prepare(source)
    assert_equal(read('test'), IMAGES[TEST], LABELS[TEST])


def test_labels_that_a_parquet_file_does_not_know_are_refused(prepare, tmp_path):
    source = made_up.write(made_up.hugging_face, tmp_path / 'source')
    path = next(source.glob('data/train-*'))
    table = parquet.read_table(path)
    names = pyarrow.array(['a', 'b'] * 15)
    parquet.write_table(table.set_column(1, 'label', names), path)
    with pytest.raises(UserError, match='labels .a, b. are none of the classes that'):
        prepare(source)


@pytest.mark.parametrize('name', ['mnist', 'emnist'])
def test_names_with_a_meaning_of_their_own_are_refused(tmp_path, name):
    source = made_up.write(made_up.keras, tmp_path / 'source')
    options = source, tmp_path, name, 'tfrecord', (), Options(), AS_THEY_ARE
    with pytest.raises(UserError, match=f"'{name}' means a data set of TFDS"):
        preparation.prepare(*options)


def test_another_version_is_not_hidden_by_ours(prepare, tmp_path):
    (tmp_path / 'tfds/mine/3.0.2').mkdir(parents=True)
    with pytest.raises(UserError, match='mine is there already'):
        prepare(made_up.write(made_up.keras, tmp_path / 'source'))


def test_a_folder_that_cannot_be_written_is_told_at_once(prepare, tmp_path):
    (tmp_path / 'tfds').write_text('a file')
    with pytest.raises(UserError, match='--data_dir: cannot write to .*tfds'):
        prepare(made_up.write(made_up.keras, tmp_path / 'source'))


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
    assert [*workdirs.find_differences(ours, theirs)] == ['dataset.sha256']
    # Earlier versions did not note it.
    assert workdirs.find_differences(ours, {'dataset': {'name': 'mine'}}) == {}
