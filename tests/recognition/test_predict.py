"""``scripts/predict.py``, as a command on files of all kinds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_framing import STROKES, draw

from mnist_flax.recognition import recognizer
from mnist_flax.recognition.predict import list_pictures, predict_files


@pytest.fixture
def folder(tmp_path):
    """Good pictures and, in another folder, broken files of many kinds."""
    good, bad = tmp_path / 'good', tmp_path / 'bad'
    good.mkdir()
    bad.mkdir()
    for digit in STROKES:
        Image.fromarray(draw(digit)).save(good / f'{digit}.png')
    (good / 'notes.txt').write_text('no picture')
    whole = (good / '7.png').read_bytes()
    (bad / 'cut.png').write_bytes(whole[: len(whole) // 2])
    (bad / 'text.jpg').write_text('hello')
    (bad / 'nothing.png').write_bytes(b'')
    Image.new('L', (9000, 9000)).save(bad / 'huge.png')
    Image.new('L', (50, 50), 255).save(bad / 'empty.png')
    both = np.concatenate([draw(4), draw(7)], axis=1)
    Image.fromarray(both).save(bad / 'two.png')
    return tmp_path


def predict(*arguments, stdin=b'', cwd=ROOT):
    script = ROOT / 'scripts/predict.py'
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=120, cwd=cwd
    )


def test_each_picture_is_a_line_and_each_broken_one_too(folder, tmp_path):
    figure = tmp_path / 'seen.png'
    process = predict(
        folder / 'good', folder / 'bad', 'absent.png', f'--save_figure={figure}'
    )
    lines = process.stdout.decode().splitlines()
    assert len(lines) == len(STROKES)
    for digit, line in zip(STROKES, lines, strict=True):
        assert line.startswith(f'{folder}/good/{digit}.png: {digit} (')
    errors = process.stderr.decode().splitlines()
    expected = [
        ('bad/cut.png', 'found no picture, or a damaged one'),
        ('bad/empty.png', 'found nothing drawn'),
        ('bad/huge.png', 'found 9000 x 9000 pixels'),
        ('bad/nothing.png', 'found an empty file'),
        ('bad/text.jpg', 'found no picture, or a damaged one'),
        ('bad/two.png', 'found 2 things drawn apart from each other'),
    ]
    assert len(errors) == len(expected) + 1
    for line, (name, reason) in zip(errors, expected, strict=False):
        assert line.startswith(f'error: {folder}/{name}: {reason}')
        assert '; allowed: ' in line
    assert errors[-1].startswith('error: absent.png: cannot be read (No such file')
    assert process.returncode == 1
    assert Image.open(figure).size[0] > 400


@pytest.mark.parametrize('path', ['.', '/', '/nowhere/seen.png'])
def test_a_figure_that_cannot_be_written_is_said_first(path, folder):
    process = predict(folder / 'good' / '7.png', f'--save_figure={path}')
    assert (process.returncode, process.stdout) == (1, b'')
    assert process.stderr.decode() == (
        f'error: --save_figure: found {path!r}; allowed: a file in a folder that exists\n'
    )


def test_json_for_machines_and_the_standard_input(folder):
    whole = (folder / 'good/5.png').read_bytes()
    process = predict('--json', '-', folder / 'bad/two.png', stdin=whole)
    good, bad = map(json.loads, process.stdout.splitlines())
    assert (good['file'], good['prediction']) == ('-', '5')
    assert good['confidence'] == max(good['probabilities'].values())
    assert good['runner_up'] != '5'
    assert sum(good['probabilities'].values()) == pytest.approx(1)
    assert bad['file'].endswith('two.png')
    assert 'found 2 things' in bad['error']
    assert process.stderr == b''
    assert process.returncode == 1


def test_the_network_of_a_run_is_taken_from_anywhere(folder):
    workdir = recognizer.PRETRAINED.parent / 'default'
    process = predict(f'--workdir={workdir}', 'good/7.png', cwd=folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.decode().startswith('good/7.png: 7 (')


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ((), 2, 'error: IMAGE: missing; allowed: one or more; see --help'),
        (('--workdir=nowhere', 'a.png'), 1, "error: --workdir: found in 'nowhere' no"),
        (('--jsn', 'a.png'), 2, "error: Unknown command line flag 'jsn'"),
    ],
)
def test_bad_arguments_are_one_line(arguments, status, message):
    process = predict(*arguments)
    assert process.returncode == status
    assert process.stderr.decode().startswith(message)
    assert process.stderr.count(b'\n') == 1


def test_folders_and_patterns_are_listed_in_order(folder):
    good = folder / 'good'
    pictures = [f'{good}/{digit}.png' for digit in STROKES]
    assert [*list_pictures([str(good)])] == pictures
    assert [*list_pictures([f'{good}/*.png', '-'])] == [*pictures, '-']
    assert [*list_pictures([f'{folder}/**/7.png'])] == [f'{good}/7.png']
    # What stands for nothing is named when it is read.
    assert [*list_pictures(['no*.png', 'x' * 5000])] == ['no*.png', 'x' * 5000]
    odd = good / '[7].png'
    odd.write_bytes(b'')
    assert [*list_pictures([str(odd)])] == [str(odd)]


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path, capsys):
    path = tmp_path / 'a\n\x1b[2Jb.png'
    Image.fromarray(draw(4)).save(path)
    assert predict_files([str(path)], recognizer.load(), as_json=False, figure_path='')
    out = capsys.readouterr().out
    assert out.count('\n') == 1
    assert '\\n\\x1b[2Jb.png: 4 (' in out


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='asks Linux')
def test_the_largest_picture_takes_less_than_a_gibibyte(tmp_path):
    """Of memory, at the highest mark of a process of its own.

    That is Linux's VmHWM: getrusage's figure of a process starts at its parent's, so it
    would measure the tests that ran before this one.
    """
    rng = np.random.default_rng(0)
    small = draw(4, size=500)
    page = np.kron(small, np.ones((16, 16), np.uint8))
    colours = np.stack([page] * 4, axis=-1)
    colours[..., :3] ^= rng.integers(0, 8, (8000, 8000, 1), np.uint8)
    colours[..., 3] = 255
    path = tmp_path / 'large.png'
    Image.fromarray(colours).save(path, compress_level=1)
    assert path.stat().st_size > 10**6
    code = (
        'import re, sys\n'
        'from mnist_flax import inference\n'
        'print(recognizer.load().predict(sys.argv[1:])[0].label)\n'
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    process = subprocess.run(
        [sys.executable, '-c', code, str(path)], capture_output=True, cwd=ROOT, check=True
    )
    label, kibibytes = process.stdout.split()
    assert label == b'4'
    assert int(kibibytes) < 2**20
