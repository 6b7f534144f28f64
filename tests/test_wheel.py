"""The wheel, installed by itself: its commands work from any folder."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request

import pytest
from repository import ROOT


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    """The Python of a fresh environment in which only the wheel is installed."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    unwanted = shutil.ignore_patterns('.*', 'outputs', 'build', '*.egg-info')
    shutil.copytree(ROOT, source, ignore=unwanted)
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', folder, source)
    (wheel,) = folder.glob('*.whl')
    shutil.rmtree(source)
    run(sys.executable, '-m', 'venv', folder / 'venv')
    python = folder / 'venv/bin/python'
    constraints = ROOT / 'constraints.txt'
    run(python, '-m', 'pip', 'install', '-qc', constraints, f'{wheel}[demo]')
    return python


def run(*command, **options):
    process = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.slow
def test_training_prediction_and_demo_work_from_another_folder(python, tmp_path):
    run(
        *(python, '-m', 'mnist_flax.main', '--config=configs/fast.py'),
        '--config.dataset.train_split=train[:600]',
        '--config.model.conv=xla',
        cwd=tmp_path,
    )
    metrics = json.loads((tmp_path / 'outputs/metrics.json').read_text())
    assert metrics['num_parameters'] == 108_666  # of configs/fast.py
    # A config of one's own is made from those that come along.
    (tmp_path / 'own.py').write_text(
        'from configs import accurate\n\n\ndef get_config():\n'
        '    config = accurate.get_config()\n    config.num_epochs = 0\n'
        '    return config\n'
    )
    process = subprocess.run(
        [str(python), '-m', 'mnist_flax.main', '--config=own.py'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.stderr == 'error: config.num_epochs: found 0; allowed: 1 or more\n'
    picture = pathlib.Path(tmp_path / 'seven.png')
    run(
        *(python, '-c'),
        'from PIL import Image, ImageDraw\n'
        'page = Image.new("L", (100, 100), 255)\n'
        'ImageDraw.Draw(page).line([(25, 20), (75, 20), (45, 85)], 0, 8)\n'
        f'page.save({str(picture)!r})\n',
    )
    said = run(python.parent / 'mnist_flax', 'predict', picture, cwd=tmp_path)
    assert re.match(r'.*seven.png: 7 \(', said)
    with subprocess.Popen(
        [str(python.parent / 'mnist_flax'), 'demo', '--port=0'],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            url = next(
                found[0]
                for line in demo.stdout
                if (found := re.search(r'http://[\d.]+:\d+', line))
            )
            with urllib.request.urlopen(url, timeout=60) as page:
                assert b'<canvas' in page.read()
        finally:
            demo.terminate()
