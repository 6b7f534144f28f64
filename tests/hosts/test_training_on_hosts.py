"""Two processes on this machine train one run, as two hosts would."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from free_address import find_address
from repository import ROOT

ARGUMENTS = (
    '--config.num_epochs=6', '--config.dataset.train_split=train[:3000]',
    '--config.dataset.test_split=test[:500]', '--config.model.conv=xla',
    '--config.model.features=(4,8)', '--config.model.hidden_size=16', '--num_processes=2',
)  # fmt: skip


@contextlib.contextmanager
def running(workdir, address):
    """Starts both; nothing is left of them in the end."""
    processes = [
        subprocess.Popen(
            [
                sys.executable, '-m', 'mnist_flax.main', *ARGUMENTS, f'--process_id={i}',
                f'--workdir={workdir}', f'--coordinator_address={address}',
            ],
            cwd=ROOT,
            env={**os.environ, 'JAX_NUM_CPU_DEVICES': '1'},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_whoever_is_killed_both_end_in_one_line_and_the_run_is_resumed(tmp_path):
    address, rng = find_address(), random.Random(0)  # the same address each time
    with running(tmp_path / 'whole', address) as processes:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    for killed in (0, 1, 0, 1):
        with running(tmp_path / 'killed', address) as processes:
            time.sleep(rng.uniform(5, 20))
            processes[killed].kill()
            survivor = processes[1 - killed]
            start = time.monotonic()
            _, errors = survivor.communicate(timeout=300)
            if survivor.returncode == 0:
                break  # it had finished
            assert time.monotonic() - start < 60  # without that JAX takes up to 100 s
            assert survivor.returncode == 1
            (line,) = [of for of in errors.splitlines() if not of.startswith('waiting')]
            assert line.startswith(f'error: process {killed} ')
    with running(tmp_path / 'killed', address) as processes:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    history = (tmp_path / 'whole' / 'history.csv').read_bytes()
    assert (tmp_path / 'killed' / 'history.csv').read_bytes() == history


@pytest.mark.slow
@pytest.mark.parametrize('num_runs', [1, 4])
def test_two_hosts_of_two_devices_equal_one_of_four(tmp_path, num_runs):
    """Two processes over loopback, for one epoch and then another.

    They share a single run, and of four each has two. The results are the same on both,
    and only the first one writes. Once the second host is late, as one that compiles
    slowly: by more than the 30 seconds within which hosts have to connect.
    """
    runs = str(num_runs)

    def start(name, num_devices, num_epochs, *hosts):
        return subprocess.Popen(
            [
                sys.executable,
                ROOT / 'tests/hosts/train_on_hosts.py',
                tmp_path / name,
                num_epochs,
                *hosts,
            ],
            env={
                **os.environ,
                'PYTHONPATH': str(ROOT),
                'JAX_NUM_CPU_DEVICES': str(num_devices),
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(processes):
        try:
            for process in processes:
                _, errors = process.communicate(timeout=400)
                assert process.returncode == 0, errors
        finally:
            for process in processes:
                process.kill()

    one = [start('one', 4, '2', '', '', '', '0', runs)]
    for num_epochs, late in (('1', '50' if num_runs == 1 else '0'), ('2', '0')):
        address = find_address()
        wait(
            [
                start('first', 2, num_epochs, address, '2', '0', '0', runs),
                start('second', 2, num_epochs, address, '2', '1', late, runs),
                *one,
            ]
        )
        one = []
    first, second, one = (
        dict(np.load(tmp_path / name / 'params.npz')) for name in ('first', 'second', 'one')
    )
    for name, expected in one.items():
        np.testing.assert_array_equal(second[name], first[name])
        # A run that a device has by itself is the same wherever that is.
        close = {'rtol': 1e-4, 'atol': 1e-6} if num_runs == 1 else {'rtol': 0}
        np.testing.assert_allclose(first[name], expected, **close)
    assert [path.name for path in (tmp_path / 'second').iterdir()] == ['params.npz']
    numbers = json.loads((tmp_path / 'first' / 'metrics.json').read_text())
    assert numbers['num_devices'] == 4
    group = tmp_path / f'first/checkpoints/runs_0-{num_runs - 1}'
    steps = {path.name for path in group.iterdir()}
    assert steps == {'16', '32'}  # of 1,000 examples each
