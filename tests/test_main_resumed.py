"""The command, killed or short of room, and once more, as if nothing had happened."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from mnist_flax.checkpointing import checkpoints


def start(workdir, *arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'mnist_flax.main', f'--workdir={workdir}',
         '--config.dataset.train_split=train[:4000]',
         '--config.dataset.test_split=test[:250]', '--config.num_epochs=6',
         '--config.model.conv=xla', '--config.model.features=(4,8)', *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    """What `start` ends with if nothing happens."""
    workdir = tmp_path_factory.mktemp('untouched')
    _, stderr = start(workdir).communicate(timeout=120)
    assert stderr == ''
    return read_timeless(workdir)


def read_timeless(workdir):
    metrics = json.loads((workdir / 'metrics.json').read_text())
    files = (*workdir.glob('*.png'), *workdir.glob('history.csv'))
    return (
        {path.name: path.read_bytes() for path in files},
        {name: value for name, value in metrics.items() if not name.endswith('seconds')},
        {k: v.tobytes() for k, v in checkpoints.read(workdir / 'model').arrays.items()},
    )


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_the_same_command_ends_as_if_nothing_had(
    tmp_path, untouched, number
):
    (tmp_path / 'metrics.txt').write_text('an earlier run')
    process = start(tmp_path)
    assert any(line.startswith('epoch 2/6') for line in process.stdout)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    if number == signal.SIGKILL:
        assert (process.returncode, stderr) == (-9, '')
    else:
        assert process.returncode == 128 + number
        first, second = stderr.splitlines()
        assert first == 'saving the run; once more leaves at once'
        word = 'interrupted' if number == signal.SIGINT else 'terminated'
        found = re.fullmatch(
            f'error: {word}; saved in (.*); the same command goes on from there', second
        )
        assert (pathlib.Path(found[1]) / 'SHA256SUMS').is_file()
    assert {path.name for path in tmp_path.iterdir()} == {
        '.lock',
        'checkpoints',
        'metrics.txt',
    }
    assert (tmp_path / 'metrics.txt').read_text() == 'an earlier run'
    process = start(tmp_path)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, '')
    assert re.search(
        r'^resumed: [1-5] of 6 epochs (and \d+ of .*)?were done before$', stdout, re.M
    )
    assert read_timeless(tmp_path) == untouched


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_and_another_is_refused(tmp_path, untouched):
    for _ in range(2):
        stdout, stderr = start(tmp_path).communicate(timeout=60)
        assert stderr == ''
    assert '\nresumed: 6 of 6 epochs were done before\n' in stdout
    assert '\nepoch' not in stdout
    assert read_timeless(tmp_path) == untouched
    process = start(tmp_path, '--config.batch_size=64')
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith('error: --workdir: found in ')
    assert '(batch_size 128, here 64)' in stderr
    assert stderr.count('\n') == 1
    assert read_timeless(tmp_path) == untouched


def read_finished(folder):
    """Reads all files, but for those of a checkpoint that was being written."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path: path.read_bytes() for path in files if '.new' not in str(path)}


@pytest.mark.slow
def test_a_workdir_has_one_process_at_work(tmp_path):
    first = start(tmp_path, '--config.num_epochs=1000')
    assert any(line.startswith('epoch') for line in first.stdout)
    second = start(tmp_path)
    _, stderr = second.communicate(timeout=60)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert stderr.startswith(f'error: --workdir: another process is at work in {tmp_path}')
    assert stderr.count('\n') == 1


@pytest.mark.slow
def test_a_disk_without_room_is_one_line_and_harms_nothing(tmp_path, untouched):
    process = start(tmp_path)
    assert any(line.startswith('epoch 3/6') for line in process.stdout)
    process.kill()
    process.communicate()
    kept = read_finished(tmp_path / 'checkpoints')
    # No file may grow beyond 8 kB, which the network's needs. JAX would warn that it cannot
    # keep what it has compiled.
    limited = ['sh', '-c', 'ulimit -f 8; exec "$0" "$@"', *process.args]
    environment = {**os.environ, 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
    process = subprocess.Popen(
        limited,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,  # not a file, which would be limited too
        stderr=subprocess.PIPE,
        text=True,
    )
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith('error: --workdir: cannot write the checkpoint ')
    assert '(File too large); allowed: ' in stderr
    assert stderr.count('\n') == 1
    assert read_finished(tmp_path / 'checkpoints') == kept
    assert not [*tmp_path.rglob('.*.new*')]  # which would take what room there is
    start(tmp_path).communicate(timeout=60)
    assert read_timeless(tmp_path) == untouched
