"""Whole configs compiled for TPUs, by the real compiler, through the command."""

import importlib.metadata
import os
import re
import subprocess
import sys

import filelock
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope='session')
def libtpu(tmp_path_factory):
    """A folder with the TPU's compiler, which is too large to install for all tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root
    folder = root / 'libtpu'
    with filelock.FileLock(root / 'libtpu.lock'):
        if not folder.exists():
            wanted = importlib.metadata.requires('jax') or []
            (version,) = (of.split(';')[0] for of in wanted if of.startswith('libtpu'))
            install = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps']
            subprocess.run([*install, '--target', folder, version], check=True)
    return folder


@pytest.fixture
def compile_for(command, libtpu):
    """Runs the command; returns what it printed."""

    def compile_for(*arguments):
        # Full precision, the default, would take longer to compile.
        flags = [*arguments, '--config.matmul_precision=bfloat16']
        found = command('scripts/compile_for.py', *flags, PYTHONPATH=str(libtpu))
        assert found.returncode == 0, found.stderr
        print(found.stdout)
        return found.stdout

    return compile_for


def read(text, pattern):
    return float(re.search(rf'([\d.,]+){pattern}', text)[1].replace(',', ''))


def test_a_step_on_a_tpu_takes_what_it_took(compile_for):
    """By the compiler's estimates (docs/performance.md); less is welcome, more is not."""
    default = compile_for('--config.batch_size=64')
    assert read(default, ' GFLOP') <= 1.02
    assert read(default, ' ms by its estimate') < 0.27
    augmented = compile_for('--config=configs/accurate.py', '--config.runs=1')
    ratio = read(augmented, ' ms by') / read(default, ' ms by')
    assert ratio < 1.5  # with single pixels gathered it was 24


def test_a_population_costs_its_runs(compile_for):
    on_four = compile_for('--devices=4', '--config.runs=64')
    assert '64, 4 at once, 1 on each device' in on_four
    assert read(on_four, ' GFLOP') < 1.05 * 1.99  # a single run's; side by side it was 5.1
    assert read(on_four, ' MiB beside') < 20
    assert 'groups' not in on_four


def test_hosts_divide_runs(compile_for):
    pod = compile_for('--devices=8', '--config.runs=64')
    assert 'tpu_v5e, 8 devices of 2 hosts' in pod
    assert '64, 8 at once, 1 on each device' in pod


def test_a_pod_shares_a_run(compile_for):
    pod = compile_for('--devices=256', '--config.batch_size=8192')
    assert 'tpu_v5e, 256 devices of 64 hosts' in pod
    assert '1, 1 at once, 1 on each device' in pod
    assert 'all-reduce' in pod or read(pod, ' GFLOP') < 0.6  # 32 examples each
