"""Files are read as people mean them: folders, labels, tables of many makers."""

import gzip

import made_up_sources as made_up
import numpy as np
import pyarrow
import pytest
from made_up_sources import IMAGES, LABELS, TEST
from PIL import Image
from prepared_sets import AS_THEY_ARE, assert_equal
from pyarrow import parquet

from mnist_flax.common.errors import UserError
from mnist_flax.data import shards
from mnist_flax.preparation import classes


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
    for name in ('1.svg', '2.SVG', 'notes', '.hidden'):
        (source / 'a' / name).write_bytes(b'')
    (source / 'beside.png').write_bytes(b'')
    read = prepare(source, settings=AS_THEY_ARE._replace(test_fraction=0.5))
    assert len(read('train').labels) + len(read('test').labels) == 6
    said = capsys.readouterr().out
    assert 'left out: 2 of .svg, 1 of no suffix' in said
    assert 'pictures beside the folders were left out: 1' in said


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


@pytest.mark.parametrize('folders', [('1', '1.0'), ('1.0', '2.0')])
def test_the_names_of_folders_are_the_classes(prepare, tmp_path, capsys, folders):
    source = write_folders(tmp_path / 'source', *folders)
    prepare(source, settings=AS_THEY_ARE._replace(test_fraction=0.5))
    assert f'classes: {", ".join(folders)}\n' in capsys.readouterr().out


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


def test_parquet_files_of_several_data_sets_are_not_mixed(prepare, tmp_path):
    source = made_up.write(made_up.hugging_face, tmp_path / 'source')
    path = next(source.glob('data/train-*'))
    table = parquet.read_table(path)
    about = {key: of.replace(b'"0"', b'"car"') for key, of in table.schema.metadata.items()}
    other = source / 'data/train-00001-of-00002.parquet'
    parquet.write_table(table.replace_schema_metadata(about), other)
    with pytest.raises(
        UserError, match=f'^{other}: its classes are car, 1, 2, 3, but those of .*test-0'
    ):
        prepare(source)


def test_labels_that_a_parquet_file_does_not_know_are_refused(prepare, tmp_path):
    source = made_up.write(made_up.hugging_face, tmp_path / 'source')
    path = next(source.glob('data/train-*'))
    table = parquet.read_table(path)
    names = pyarrow.array(['a', 'b'] * 15)
    parquet.write_table(table.set_column(1, 'label', names), path)
    with pytest.raises(UserError, match='labels .a, b. are none of the classes that'):
        prepare(source)
