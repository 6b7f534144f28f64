"""``scripts/draw.py``, and the data set that tells digits from other things."""

import csv

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

from mnist_flax.drawing import digit_or_not, pages


def test_pages_are_written_with_what_they_show(command, tmp_path):
    process = command('scripts/draw.py', '--number=2', '--first=7', str(tmp_path / 'a/b'))
    assert process.returncode == 0, process.stderr
    assert process.stdout == f'written to {tmp_path}/a/b: 2 pages, labels.csv\n'
    rows = [*csv.DictReader((tmp_path / 'a/b/labels.csv').open())]
    assert [row['file'] for row in rows] == ['page_00007.jpg', 'page_00008.jpg']
    for number, row in enumerate(rows, 7):
        page = pages.draw_page(number)
        assert (row['digits'], row['paper']) == (page.text, page.paper)
        height, width = page.pixels.shape[:2]
        assert Image.open(tmp_path / 'a/b' / row['file']).size == (width, height)


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ((), 2, 'error: no OUTPUT is given'),
        (('a', 'b'), 1, 'error: one OUTPUT is needed, found 2'),
        (
            ('--what=digit_or_not', 'a.png'),
            1,
            "error: OUTPUT: found 'a.png'; allowed: a file",
        ),
        (('--number=0', 'a'), 2, 'error: flag --number=0: '),
        (('/dev/null/a',), 1, 'error: /dev/null/a: it cannot be written (Not a directory)'),
    ],
)
def test_bad_arguments_are_one_line(command, arguments, status, message):
    process = command('scripts/draw.py', *arguments)
    assert (process.returncode, process.stdout) == (status, '')
    assert process.stderr.startswith(message)
    assert process.stderr.count('\n') == 1


@pytest.mark.slow
def test_a_data_set_is_drawn_prepared_and_learned(command, tmp_path, monkeypatch):
    """As docs/handwriting.md and the networks' README say, with few images."""
    for name in ('_NUM_OTHERS', '_NUM_DRAWN', '_NUM_COARSE'):
        monkeypatch.setattr(digit_or_not, name, 300)
    monkeypatch.setattr(digit_or_not, '_FIRST_IMAGE_TESTED', 600)
    train, test = digit_or_not.draw(2)
    assert np.bincount(train.labels).tolist() == [300, 900]
    assert np.bincount(test.labels)[0] == 30
    assert train.images.shape[1:] == (28, 28, 1)
    np.savez(tmp_path / 'drawn.npz', x_train=train.images, y_train=train.labels,
             x_test=test.images[:500], y_test=test.labels[:500])  # fmt: skip
    names = ','.join(digit_or_not.CLASS_NAMES)
    process = command(
        'scripts/prepare.py', str(tmp_path / 'drawn.npz'), '--name=digit_or_not',
        f'--class_names={names}', f'--data_dir={tmp_path}',
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert 'classes: other, digit' in process.stdout
    process = command(
        '-m', 'mnist_flax.main', f'--config={ROOT}/configs/digit_or_not.py',
        f'--config.dataset.data_dir={tmp_path}', '--config.runs=1', '--config.num_epochs=3',
        '--config.dataset.holdout_size=100', f'--workdir={tmp_path}/run',
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
