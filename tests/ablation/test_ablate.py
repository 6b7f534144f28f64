"""The command ``scripts/ablate.py``, on a small network: whole, killed, and repeated."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
from repository import ROOT

TINY = (
    'scripts/ablate.py',
    '--config=configs/ablation.py',
    '--variants=no_dropout',
    '--seeds=2',
    '--config.recipe.num_epochs=1',
    '--config.recipe.model.conv=xla',
    '--config.recipe.model.features=(4,8)',
    '--config.recipe.model.hidden_size=16',
    '--config.recipe.num_devices=1',
    '--config.recipe.dataset.train_split=train[:1500]',
    '--config.recipe.dataset.holdout_size=300',
    '--config.recipe.dataset.test_split=test[:300]',
)


def without_seconds(table):
    """What two trainings of the same runs have in common."""
    rows = [line.split('|') for line in table.splitlines()]
    return [row[:-2] if len(row) > 2 else row for row in rows]


@pytest.fixture(scope='module')
def whole(command, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('whole')
    process = command(*TINY, f'--workdir={workdir}')
    assert process.returncode == 0, process.stderr
    return process, workdir


def read_results(workdir):
    with (workdir / 'results.csv').open() as file:
        return [{**row, 'seconds': ''} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_an_ablation_is_resumed_in_the_middle_of_a_run(command, tmp_path):
    # With few examples a step, and so many epochs that a signal comes before the last.
    arguments = [*TINY, '--config.recipe.num_epochs=20']
    process = subprocess.Popen(
        [sys.executable, *arguments, f'--workdir={tmp_path}/killed'],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    group = tmp_path / 'killed/checkpoints/recipe/runs_0-0'
    end = time.monotonic() + 120
    while not group.is_dir() or len([*group.iterdir()]) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 143
    assert f'saved in {tmp_path}/killed/checkpoints/' in errors
    resumed = command(*arguments, f'--workdir={tmp_path}/killed')
    whole = command(*arguments, f'--workdir={tmp_path}/whole')
    for process in (resumed, whole):
        assert (process.returncode, process.stderr) == (0, '')
    assert read_results(tmp_path / 'killed') == read_results(tmp_path / 'whole')
    assert not (tmp_path / 'killed/checkpoints').exists()


def test_an_ablation_writes_its_table_figure_and_runs(whole):
    process, workdir = whole
    files = {'.lock', 'ablation.md', 'ablation.png', 'configs.json', 'results.csv'}
    assert {path.name for path in workdir.iterdir()} == files
    with (workdir / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['variant'], row['seed']) for row in rows] == [
        (name, seed) for name in ('recipe', 'no_dropout') for seed in '01'
    ]
    for row in rows:  # counts of 300 images
        assert round(float(row['validation_accuracy']) * 300, 6) % 1 == 0
        assert round(float(row['test_accuracy']) * 300, 6) % 1 == 0
    table = (workdir / 'ablation.md').read_text()
    assert process.stdout.endswith(table)
    assert '1,200 training images, 1 epoch, 300 images held out; ' in table
    assert '4/4  no_dropout: held-out accuracy seed 1' in process.stdout
    assert 'about 0 min left' in process.stdout


@pytest.mark.slow
def test_an_ablation_that_was_killed_continues_to_the_same_table(command, whole, tmp_path):
    _, expected = whole
    process = subprocess.Popen(
        [sys.executable, *TINY, f'--workdir={tmp_path}'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ,
        text=True,
    )
    assert any(line.startswith('2/4') for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    before = (tmp_path / 'results.csv').read_text()
    assert 2 <= len(before.splitlines()) - 1 < 4
    again = command(*TINY, f'--workdir={tmp_path}')
    assert again.returncode == 0, again.stderr
    assert ' runs are done already, ' in again.stdout
    assert (tmp_path / 'results.csv').read_text().startswith(before)
    tables = [(path / 'ablation.md').read_text() for path in (expected, tmp_path)]
    assert without_seconds(tables[0]) == without_seconds(tables[1])
    pngs = [(path / 'ablation.png').read_bytes() for path in (expected, tmp_path)]
    assert pngs[0] == pngs[1]


@pytest.mark.slow
def test_a_finished_ablation_trains_nothing_and_another_config_is_refused(command, whole):
    _, workdir = whole
    before = {path.name: path.read_bytes() for path in workdir.iterdir()}
    again = command(*TINY, f'--workdir={workdir}')
    assert again.returncode == 0, again.stderr
    assert '4 runs are done already, 0 are left' in again.stdout
    other = command(*TINY, '--config.recipe.batch_size=50', f'--workdir={workdir}')
    assert other.returncode == 1
    assert other.stderr == (
        f'error: --workdir: {workdir} holds runs with other settings (recipe.batch_size, '
        'no_dropout.batch_size); use the same settings, or another folder\n'
    )
    assert {path.name: path.read_bytes() for path in workdir.iterdir()} == before
