"""What is wrong with a source, a name or a flag is one line, and leaves nothing."""

import gzip

import made_up_sources as made_up
import numpy as np
import pytest
from made_up_sources import IMAGES, LABELS
from prepared_sets import AS_THEY_ARE
from repository import ROOT

from mnist_flax.common.errors import UserError
from mnist_flax.preparation import prepare as preparation
from mnist_flax.preparation.sources import Options


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
        UserError, match='3 of 40 pictures cannot be used; the first is .*png'
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


def test_splits_of_the_same_meaning_are_not_mixed_up(prepare, tmp_path):
    """One of the two would be lost."""
    path = tmp_path / 'a.npz'
    splits = 'train', 'val', 'validation'
    np.savez(path, **{f'x_{split}': IMAGES for split in splits},
             **{f'y_{split}': LABELS for split in splits})  # fmt: skip
    with pytest.raises(UserError, match='two have the same meaning'):
        prepare(path)
