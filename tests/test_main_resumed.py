"""The command, killed and started again, ends as if nothing had happened.

tests/soak does the same at more moments, and with damaged or full disks.
"""

import json
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from repository import ROOT

from mnist_flax.checkpointing import checkpoints

pytestmark = pytest.mark.slow


def start(workdir, *arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'mnist_flax.main', f'--workdir={workdir}',
         '--config.dataset.train_split=train[:4000]',
         '--config.dataset.test_split=test[:250]', '--config.num_epochs=6',
         '--config.log_every_steps=5', '--config.model.conv=xla',
         '--config.model.features=(4,8)', *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process, status=0):
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == status, stderr
    assert stderr.count('\n') == bool(status), stderr
    return stderr if status else stdout


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    """A run that nothing happened to."""
    workdir = tmp_path_factory.mktemp('untouched')
    finish(start(workdir))
    return workdir


def read_timeless(workdir):
    metrics = json.loads((workdir / 'metrics.json').read_text())
    files = (*workdir.glob('*.png'), *workdir.glob('history.csv'))
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return (
        {path.name: path.read_bytes() for path in files},
        {name: value for name, value in metrics.items() if not name.endswith('seconds')},
        [{k: v for k, v in of.items() if k != 'images_per_second'} for of in records],
        {k: v.tobytes() for k, v in checkpoints.read(workdir / 'model').arrays.items()},
    )


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_the_same_command_ends_as_if_nothing_had(
    tmp_path, untouched, number
):
    (tmp_path / 'metrics.txt').write_text('an earlier run')
    process = start(tmp_path)
    assert any(line.startswith('epoch 2/6') for line in process.stdout)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    if number == signal.SIGKILL:
        assert (process.returncode, stderr) == (-9, '')
    else:
        assert process.returncode == 128 + number
        first, second = stderr.splitlines()
        assert first == 'saving the run; a second signal ends it at once'
        word = 'interrupted' if number == signal.SIGINT else 'terminated'
        found = re.fullmatch(
            f'error: {word}; saved in (.*); the same command resumes from there', second
        )
        assert (pathlib.Path(found[1]) / 'SHA256SUMS').is_file()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {'.lock', 'checkpoints', 'metrics.jsonl', 'metrics.txt'}
    assert (tmp_path / 'metrics.txt').read_text() == 'an earlier run'
    stdout = finish(start(tmp_path))
    assert re.search(
        r'^resumed: [1-5] of 6 epochs (and \d+ of .*)?were done before$', stdout, re.M
    )
    assert read_timeless(tmp_path) == read_timeless(untouched)


def test_a_finished_run_is_not_trained_again_and_another_is_refused(untouched):
    before = read_timeless(untouched)
    stdout = finish(start(untouched))
    assert '\nresumed: 6 of 6 epochs were done before; nothing is trained' in stdout
    assert '\nepoch' not in stdout
    error = finish(start(untouched, '--config.batch_size=64'), status=1)
    assert error.startswith('error: --workdir: ')
    assert '(batch_size 128, here 64)' in error
    assert read_timeless(untouched) == before
