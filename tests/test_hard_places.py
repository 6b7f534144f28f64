"""Runs in folders, on disks and at moments as they come."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from drawn_digits import draw
from PIL import Image
from repository import ROOT

from mnist_flax.checkpointing import checkpoints

pytestmark = pytest.mark.slow

SHORT = (
    '-m', 'mnist_flax.main', '--config.num_epochs=4', '--config.model.conv=xla',
    '--config.dataset.train_split=train[:600]', '--config.dataset.test_split=test[:200]',
    '--config.model.features=(4,8)', '--config.model.hidden_size=300',
)  # fmt: skip

# The superuser may write everywhere without it, other users not.
_OBEY_PERMISSIONS = () if os.geteuid() else ('setpriv', '--bounding-set=-dac_override')


@pytest.fixture(scope='module')
def whole(command, tmp_path_factory):
    """The workdir of a run that nothing happens to."""
    folder = tmp_path_factory.mktemp('whole')
    process = command(*SHORT, f'--workdir={folder}')
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope='module')
def history(whole):
    """Its numbers."""
    return (whole / 'history.csv').read_text()


def test_a_folder_with_spaces_and_umlauts(command, tmp_path, history):
    workdir = tmp_path / 'Läufe von heute' / '(1) [lr=1e-3] №7'
    process = command(*SHORT, '--workdir', workdir)
    assert (process.returncode, process.stderr) == (0, '')
    assert f'written to {workdir}: ' in process.stdout
    assert (workdir / 'history.csv').read_text() == history
    picture = tmp_path / 'fünf – 5.png'
    Image.fromarray(draw(5)).save(picture)
    for arguments in (
        ('scripts/predict.py', f'--workdir={workdir}', picture),
        ('scripts/evaluate.py', f'--workdir={workdir}', '--corruptions=false'),
        ('scripts/export.py', f'--workdir={workdir}', f'--export_dir={workdir}/für euch'),
    ):
        process = command(*arguments)
        assert (process.returncode, process.stderr) == (0, '')
    assert (workdir / 'evaluation/report.md').is_file()
    assert (workdir / 'für euch/model.onnx').is_file()


def test_of_two_runs_that_start_at_one_moment_one_trains(tmp_path, history):
    processes = [
        subprocess.Popen(
            [sys.executable, *SHORT, f'--workdir={tmp_path}'],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [
        (*process.communicate(timeout=300), process.returncode) for process in processes
    ]
    ((_, no_error, _), (_, error, _)) = sorted(ends, key=lambda end: end[2])
    assert [status for *_, status in sorted(ends, key=lambda end: end[2])] == [0, 1]
    assert no_error == ''
    assert error.startswith('error: --workdir: another process is working in ')
    assert error.count('\n') == 1
    assert (tmp_path / 'history.csv').read_text() == history


def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint(tmp_path, whole, history):
    if os.geteuid():
        pytest.skip('only the superuser can mount a small disk')
    disk = tmp_path / 'disk'
    disk.mkdir()
    # Room for one checkpoint and half of the next, as if others took it after the program
    # has looked.
    (saved, *_) = (whole / 'checkpoints/runs_0-0').iterdir()
    pages = sum(-(-path.stat().st_size // 4096) for path in saved.rglob('*'))
    size = int(1.5 * pages * 4096)
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip('a small disk cannot be mounted here')
    unchecked = (
        'import runpy\nfrom mnist_flax.common import files\n'
        'files.check_disk_space = lambda folder, size: None\n'
        'runpy.run_module("mnist_flax.main", run_name="__main__", alter_sys=True)\n'
    )

    def run(*first):
        return subprocess.run(
            [sys.executable, *first, *SHORT[2:], f'--workdir={disk}/run'],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            # Whose own files are not what this is about.
            env={**os.environ, 'TMPDIR': str(tmp_path)},
        )

    try:
        process = run('-c', unchecked)
        assert process.returncode == 1
        assert process.stderr.startswith('error: --workdir: cannot write the checkpoint ')
        assert '(No space left on device)' in process.stderr
        assert process.stderr.count('\n') == 1
        group = disk / 'run/checkpoints/runs_0-0'
        assert checkpoints.restore(group).about['step'] == 5
        subprocess.run(['mount', '-o', 'remount,size=99m', disk], check=True)
        process = run(*SHORT[:2])
        assert (process.returncode, process.stderr) == (0, '')
        assert 'were done before' in process.stdout
        assert (disk / 'run/history.csv').read_text() == history
        # Orbax's threads write on for a moment; the next run removes what they leave.
        assert all(path.name.isdecimal() for path in group.iterdir())
    finally:
        subprocess.run(['umount', disk], check=True)


def test_a_clock_that_jumps_back(command, tmp_path, history):
    back = (
        'import itertools, runpy, time\n'
        'now, calls = time.time(), itertools.count()\n'
        'time.time = lambda: now - 3600 * next(calls)\n'
        'time.time_ns = lambda: int(time.time() * 1e9)\n'
        'runpy.run_module("mnist_flax.main", run_name="__main__", alter_sys=True)\n'
    )
    process = command('-c', back, *SHORT[2:], f'--workdir={tmp_path}')
    assert (process.returncode, process.stderr) == (0, '')
    saved = (tmp_path / 'checkpoints/runs_0-0').iterdir()
    for path in sorted(saved, key=lambda path: int(path.name))[1:]:
        shutil.rmtree(path)
    for path in [*tmp_path.rglob('*')]:  # as written before the clock went back
        os.utime(path, (4e9, 4e9))
    process = command('-c', back, *SHORT[2:], f'--workdir={tmp_path}')
    assert (process.returncode, process.stderr) == (0, '')
    assert 'resumed: 2 of 4 epochs' in process.stdout
    assert (tmp_path / 'history.csv').read_text() == history
    numbers = json.loads((tmp_path / 'metrics.json').read_text())
    assert 0 < numbers['train_seconds'] < numbers['total_seconds'] < 300


def test_a_package_that_nobody_can_write_to(tmp_path, history):
    if _OBEY_PERMISSIONS and not shutil.which('setpriv'):
        pytest.skip('the superuser can write everywhere')
    package = tmp_path / 'package'
    for name in ('mnist_flax', 'configs', 'scripts'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, package / name, ignore=ignored)
    before = sorted(package.rglob('*'))
    for path in (package, *before):
        path.chmod(path.stat().st_mode & 0o555)
    (tmp_path / 'elsewhere').mkdir()
    command = [*_OBEY_PERMISSIONS, sys.executable]
    options = {
        'cwd': tmp_path / 'elsewhere', 'env': {**os.environ, 'PYTHONPATH': str(package)},
        'capture_output': True, 'text': True, 'check': False,
    }  # fmt: skip
    process = subprocess.run([*command, *SHORT], **options)
    assert (process.returncode, process.stderr) == (0, '')
    assert (tmp_path / 'elsewhere/outputs/history.csv').read_text() == history
    picture = tmp_path / '3.png'
    Image.fromarray(draw(3)).save(picture)
    process = subprocess.run([*command, package / 'scripts/predict.py', picture], **options)
    assert process.stdout.startswith(f'{picture}: 3 ')
    assert sorted(package.rglob('*')) == before
    for path in (package, *before):
        path.chmod(path.stat().st_mode | 0o200)


def test_warnings_that_are_errors(command, tmp_path, history):
    process = command('-W', 'error', *SHORT, f'--workdir={tmp_path}')
    assert (process.returncode, process.stderr) == (0, '')
    assert (tmp_path / 'history.csv').read_text() == history
    picture = tmp_path / '7.png'
    Image.fromarray(draw(7)).save(picture)
    process = command('-W', 'error', 'scripts/predict.py', f'--workdir={tmp_path}', picture)
    assert (process.returncode, process.stderr) == (0, '')


def test_a_program_that_is_not_compiled(command, tmp_path):
    """A few steps, since each takes a second; sums are taken in another order."""
    few = ('--config.num_epochs=1', '--config.dataset.train_split=train[:192]')
    losses = []
    for name, value in (('NONE', '1'), ('JAX_DISABLE_JIT', '1')):
        workdir = f'--workdir={tmp_path}/{name}'
        process = command(*SHORT, *few, workdir, **{name: value})
        assert process.returncode == 0, process.stderr
        numbers = json.loads((tmp_path / name / 'metrics.json').read_text())
        losses.append(numbers['test_loss'])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
