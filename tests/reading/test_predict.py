"""``scripts/predict.py`` on files of all kinds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clothes import load_clothes
from drawn_digits import STROKES, draw
from PIL import Image
from repository import ROOT

from mnist_flax.reading import reader
from mnist_flax.reading.predict import list_pictures, predict_files
from mnist_flax.reading.reader import Reader
from mnist_flax.recognition import networks


@pytest.fixture
def folder(tmp_path):
    """Good pictures and, in another folder, bad ones."""
    good, bad = tmp_path / 'good', tmp_path / 'bad'
    good.mkdir()
    bad.mkdir()
    for digit in STROKES:
        Image.fromarray(draw(digit)).save(good / f'{digit}.png')
    (good / 'notes.txt').write_text('no picture')
    whole = (good / '7.png').read_bytes()
    (bad / 'cut.png').write_bytes(whole[: len(whole) // 2])
    Image.new('L', (50, 50), 255).save(bad / 'empty.png')
    both = np.concatenate([draw(4), draw(7)], axis=1)
    Image.fromarray(both).save(bad / 'two.png')
    return tmp_path


def predict(*arguments, stdin=b'', cwd=ROOT, **environment):
    script = ROOT / 'scripts/predict.py'
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def test_each_picture_is_a_line_and_each_bad_one_too(folder, tmp_path):
    figure = tmp_path / 'seen.png'
    process = predict(
        folder / 'good', folder / 'bad', 'absent.png', f'--save_figure={figure}'
    )
    lines = process.stdout.decode().splitlines()
    for digit, line in zip(STROKES, lines, strict=False):
        assert line.startswith(f'{folder}/good/{digit}.png: {digit} (')
    (several,) = lines[len(STROKES) :]
    assert re.fullmatch(rf'{folder}/bad/two.png: 47 \(lowest [0-9.]+%\)', several)
    note, *errors = process.stderr.decode().splitlines()
    assert note == f'note: {folder}/good: of what is there, this was left out: 1 .txt'
    expected = [
        ('bad/cut.png', 'it is damaged or not a picture ('),
        ('bad/empty.png', 'nothing is drawn in it; it should show digits'),
    ]
    assert len(errors) == len(expected) + 1
    for line, (name, reason) in zip(errors, expected, strict=False):
        assert line.startswith(f'error: {folder}/{name}: {reason}')
    assert errors[-1].startswith('error: absent.png: it cannot be read (No such file')
    assert process.returncode == 1
    assert Image.open(figure).size[0] > 400


@pytest.mark.slow
def test_json_of_the_standard_input_by_the_network_of_a_run_from_anywhere(folder):
    whole = (folder / 'good/5.png').read_bytes()
    workdir = networks.PRETRAINED.parent / 'default'
    arguments = '--json', f'--workdir={workdir}', '-', 'bad/two.png', 'bad/empty.png'
    process = predict(*arguments, stdin=whole, cwd=folder)
    one, two, none = map(json.loads, process.stdout.splitlines())
    assert (one['file'], one['prediction']) == ('-', '5')
    assert 0.9 < one['confidence'] <= max(one['probabilities'].values())
    assert one['runner_up'] != '5'
    assert sum(one['probabilities'].values()) == pytest.approx(1)
    assert (two['file'], two['prediction']) == ('bad/two.png', '47')
    four, seven = two['digits']
    assert [four['prediction'], seven['prediction']] == ['4', '7']
    assert two['confidence'] == min(four['confidence'], seven['confidence'])
    assert (four['row'], seven['row']) == (0, 0)
    for digit, place in ((four, 0.0), (seven, 0.5)):
        # As `STROKES` draws it, in the left or the right half of the picture.
        expected = [place + 0.14, 0.14, place + 0.36, 0.88]
        assert digit['box'] == pytest.approx(expected, abs=0.04)
    assert 'nothing is drawn in it' in none['error']
    assert (process.returncode, process.stderr) == (1, b'')


@pytest.mark.slow
def test_a_picture_is_taken_for_one_digit_if_wanted(folder):
    process = predict('--single', folder / 'bad/two.png', folder / 'good/3.png')
    assert process.stdout.decode().startswith(f'{folder}/good/3.png: 3 (')
    assert '2 things are drawn apart from each other' in process.stderr.decode()
    assert process.returncode == 1


def test_other_classes_are_answered_by_their_names(folder, tmp_path, capsys):
    path = tmp_path / 'seen.png'
    everything = [f'{folder}/bad/empty.png', f'{folder}/bad/two.png']
    assert predict_files(everything, Reader(load_clothes()), False, str(path))
    for line, name in zip(capsys.readouterr().out.splitlines(), everything, strict=True):
        assert re.fullmatch(rf'{name}: [a-z]+ \(.*%\), else [a-z]+ \(.*%\)', line)
    assert path.exists()


def test_a_doubtful_prediction_has_a_warning(tmp_path, capsys):
    clothes = load_clothes()
    clothes.networks.about['edges'] = [0.0, 0.0]
    for name, background in (('light', 255), ('dark', 0)):
        page = np.full((40, 40), background, np.uint8)
        page[10:30, 10:30] = 128
        Image.fromarray(page).save(tmp_path / f'{name}.png')
    assert predict_files([str(tmp_path)], Reader(clothes), False, '')
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    doubt = 'its edge is light, and that of the training images was dark'
    assert printed.err == (
        f'warning: {tmp_path}/light.png: {doubt}; try --framing=mnist if it shows a digit '
        'or letter, or invert it\n'
    )
    assert predict_files([str(tmp_path)], Reader(clothes), True, '')
    printed = capsys.readouterr()
    assert [json.loads(line).get('doubt') for line in printed.out.splitlines()] == [
        None,
        doubt,
    ]
    assert printed.err == ''


NO_FILE = "error: --save_figure: found '{}'; allowed: a file in a folder that exists\n"


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ((), 2, 'error: no IMAGE is given; give one or more'),
        pytest.param(
            ('--workdir=nowhere', 'a.png'),
            1,
            "error: --workdir: 'nowhere' holds no finished",
            marks=pytest.mark.slow,
        ),
        (('--jsn', 'a.png'), 2, "error: Unknown command line flag 'jsn'"),
        pytest.param(
            ('--save_figure=/', 'a.png'), 1, NO_FILE.format('/'), marks=pytest.mark.slow
        ),
        (('--save_figure=/nowhere/a.png', 'a.png'), 1, NO_FILE.format('/nowhere/a.png')),
    ],
)
def test_bad_arguments_are_one_line(arguments, status, message):
    process = predict(*arguments)
    assert (process.returncode, process.stdout) == (status, b'')
    assert process.stderr.decode().startswith(message)
    assert process.stderr.count(b'\n') == 1


def test_folders_and_patterns_are_listed_in_order(folder):
    good = folder / 'good'
    pictures = [f'{good}/{digit}.png' for digit in STROKES]
    assert [*list_pictures([str(good)])] == pictures
    assert [*list_pictures([f'{good}/*.png', '-'])] == [*pictures, '-']
    assert [*list_pictures([f'{folder}/**/7.png'])] == [f'{good}/7.png']
    # What stands for nothing is reported when it is read.
    assert [*list_pictures(['no*.png', 'x' * 5000])] == ['no*.png', 'x' * 5000]
    odd = good / '[7].png'
    odd.write_bytes(b'')
    assert [*list_pictures([str(odd)])] == [str(odd)]
    in_odd = good / 'of [2024]' / '1.png'
    in_odd.parent.mkdir()
    in_odd.write_bytes(b'')
    assert [*list_pictures([f'{in_odd.parent}/*.png'])] == [str(in_odd)]
    assert [*list_pictures([f'{good}/of*/*.png'])] == [str(in_odd)]


def test_what_is_left_out_of_a_folder_is_said(folder, capsys):
    good = folder / 'good'
    for name in ('._3.png', '.hidden', 'a.pdf', 'b.PDF', 'none'):
        (good / name).write_bytes(b'')
    (good / 'more').mkdir()
    assert len([*list_pictures([str(good)])]) == len(STROKES)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f'note: {good}: of what is there, this was left out: 2 .pdf, ')
    for kind in ('1 .txt', '1 without a suffix', '1 folder'):
        assert kind in note


@pytest.mark.slow
def test_a_phone_s_pictures_are_read_or_named(folder, tmp_path):
    path = folder / 'phone/IMG_0007.HEIC'
    path.parent.mkdir()
    Image.fromarray(draw(7)).save(path, 'HEIF')
    process = predict(path.parent, path)
    assert process.stderr == b''
    assert process.stdout.decode().count(f'{path}: 7 (') == 2
    # As without the extra `heic`.
    (tmp_path / 'pillow_heif.py').write_text('raise ImportError')
    process = predict(path.parent, path, PYTHONPATH=str(tmp_path))
    assert process.stderr.decode().splitlines() == [
        f'note: {path.parent}: of what is there, this was left out: 1 .heic',
        f'error: {path.parent}: this folder holds no pictures',
        f'error: {path}: it is HEIC, which cannot be read; install the extra heic (pip '
        "install -e '.[heic]'), or save it as PNG or JPEG",
    ]
    assert (process.stdout, process.returncode) == (b'', 1)


def test_control_characters_in_names_are_escaped(tmp_path, capsys):
    path = tmp_path / 'a\n\x1b[2Jb.png'
    Image.fromarray(draw(4)).save(path)
    assert predict_files([str(path)], reader.load(), as_json=False, figure_path='')
    out = capsys.readouterr().out
    assert out.count('\n') == 1
    assert '\\n\\x1b[2Jb.png: 4 (' in out


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='asks Linux')
def test_the_largest_picture_takes_less_than_a_gibibyte(tmp_path):
    """By the peak memory of a process of its own, Linux's VmHWM."""
    rng = np.random.default_rng(0)
    page = np.kron(draw(4, size=500), np.ones((16, 16), np.uint8))
    pixels = np.stack([page] * 4, axis=-1)
    pixels[..., :3] ^= rng.integers(0, 8, (8000, 8000, 1), np.uint8)
    pixels[..., 3] = 255
    path = tmp_path / 'large.png'
    Image.fromarray(pixels).save(path, compress_level=1)
    code = (
        'import re, sys\n'
        'from mnist_flax.reading import reader\n'
        'print(reader.load().read(sys.argv[1:])[0].text)\n'
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    label, kibibytes = subprocess.check_output(
        [sys.executable, '-c', code, str(path)], cwd=ROOT
    ).split()
    assert label == b'4'
    assert int(kibibytes) < 2**20
