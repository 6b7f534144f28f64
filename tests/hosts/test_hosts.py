"""Processes of a run that look for each other, meet, and end; they do not train here.

Each runs code as a training process would; in it ``meet()`` meets the others and ``say``
prints at once.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from free_address import find_address

ADVICE = '; start the command on all hosts again, and it resumes from the last checkpoint\n'
SLEEP = 'time.sleep(60)'


@contextlib.contextmanager
def started(address, codes, first=0, of=0, seconds=60, config=(), notes_after=60):
    """Starts a process for each piece of code, with numbers from ``first`` on."""
    processes = []
    for i, code in enumerate(codes, first):
        start = (
            'import os, signal, sys, time\n'
            'from ml_collections import ConfigDict\n'
            'from mnist_flax.hosts import partners, supervisor\n'
            f'partners._FIRST_NOTE = {notes_after}\n'
            f'config, of = ConfigDict({dict(config)}), {of or len(codes)}\n'
            f'supervisor.supervise(config, {address!r}, of, {i}, {seconds})\n'
            'meet, say = supervisor.meet, lambda text: print(text, flush=True)\n'
        )
        process = subprocess.Popen(
            [sys.executable, '-c', start + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def finish(process):
    """Returns the exit status, the output and the errors."""
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def test_nobody_passes_where_they_meet_before_all_have_come():
    code = 'meet()\ntime.sleep({})\nsay(time.time())\nmeet()\nsay(time.time())'
    waits = (0.0, 0.6, 0.3)
    with started(find_address(), [code.format(wait) for wait in waits]) as processes:
        ends = [finish(process) for process in processes]
    assert [(status, errors) for status, _, errors in ends] == [(0, '')] * 3
    times = [[*map(float, output.split())] for _, output, _ in ends]
    assert max(came for came, _ in times) <= min(left for _, left in times)


@pytest.mark.parametrize('killed', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_when_one_is_killed_the_others_end_at_once_with_one_line(killed):
    code = 'meet()\nsay("met")\ntime.sleep(60)'
    with started(find_address(), [code] * 3) as processes:
        assert [process.stdout.readline() for process in processes] == ['met\n'] * 3
        processes[killed].kill()
        for i in {0, 1, 2} - {killed}:
            status, _, errors = finish(processes[i])
            assert (status, errors) == (1, f'error: process {killed} has ended{ADVICE}')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('end', 'status', 'message'),
    [
        # What a shared operation raises where JAX finds it out first.
        (
            'class JaxRuntimeError(Exception): pass\n'
            'raise JaxRuntimeError("Gloo: Connection closed")',
            1, 'error: process 1 has ended',
        ),
        # What JAX does where it finds it out itself.
        (
            'os.write(2, b"F1129 12:00:00.0 7 a.cc:1] distributed service\\n")\n'
            'os.write(2, b"Fatal Python error: Aborted\\n  File\\n")\nos.abort()',
            1, 'error: process 1 has ended',
        ),
        # Its own mistake, which it is about to say when the other one has said it.
        ('print("error: mine", file=sys.stderr)\nos._exit(1)', 1, 'error: mine\n'),
        (SLEEP, 1, 'error: process 1 has ended with status 3'),
    ],
)  # fmt: skip
def test_the_end_of_another_is_one_line_however_it_is_noticed(end, status, message):
    code = f'meet()\nsay("met")\ntime.sleep(1)\n{end}'
    other = 'meet()\nsay("met")\ntime.sleep(1)\nos._exit(3)'
    with started(find_address(), [code, other]) as processes:
        found, _, errors = finish(processes[0])
    assert (found, errors.count('\n')) == (status, 1)
    assert errors.startswith(message) or 'other processes of this run' in errors


@pytest.mark.slow
def test_a_crash_of_its_own_is_one_line_that_says_so():
    code = (
        'os.write(2, b"W1129 harmless\\n")\n'
        'os.write(2, b"F1129 12:00:00.0 7 a.cc:1] no memory\\nmore\\n")\nos.abort()'
    )
    with started(find_address(), [f'meet()\n{code}', f'meet()\n{SLEEP}']) as processes:
        status, _, errors = finish(processes[0])
        other_status, _, other_errors = finish(processes[1])
    assert status == other_status == 1
    line = (
        f'this process was ended by SIGABRT (F1129 12:00:00.0 7 a.cc:1] no memory){ADVICE}'
    )
    assert errors == f'W1129 harmless\nerror: {line}'
    assert other_errors.startswith('error: ')
    assert other_errors.count('\n') == 1


@pytest.mark.slow
def test_an_error_of_jax_that_is_its_own_is_not_hidden():
    code = (
        'class JaxRuntimeError(Exception): pass\nraise JaxRuntimeError("INTERNAL: cuDNN")'
    )
    with started(find_address(), [f'meet()\n{code}', f'meet()\n{SLEEP}']) as processes:
        status, _, errors = finish(processes[0])
        assert finish(processes[1]) == (1, '', 'error: process 0 has ended with status 1\n')
    assert status == 1
    assert errors.endswith('JaxRuntimeError: INTERNAL: cuDNN\n')


@pytest.mark.slow
def test_one_that_finishes_early_is_not_missed():
    late = 'meet()\ntime.sleep(2)\nsay("done")'
    with started(find_address(), [late, 'meet()', late], seconds=1) as processes:
        assert [finish(process) for process in processes] == [
            (0, 'done\n', ''), (0, '', ''), (0, 'done\n', ''),
        ]  # fmt: skip


@pytest.mark.slow
def test_what_it_has_started_and_left_running_keeps_nobody_waiting():
    start = (
        'import subprocess\nsubprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)'
    )
    code = f'{start}\nmeet()\nos._exit(3)'
    with started(find_address(), [code, f'meet()\n{SLEEP}']) as processes:
        begin = time.monotonic()
        assert [finish(process)[0] for process in processes] == [3, 1]
        assert time.monotonic() - begin < 30


@pytest.mark.slow
def test_without_an_address_the_end_is_explained_too():
    code = 'os.write(2, b"F1129 12:00:00.0 7 a.cc:1] distributed service\\n")\nos.abort()'
    with started(None, [f'meet()\n{code}'], of=2) as (process,):
        status, _, errors = finish(process)
    assert (status, errors.count('\n')) == (1, 1)
    assert errors.startswith('error: other processes of this run have gone, or did')


@pytest.mark.slow
def test_a_traceback_and_an_exit_status_are_those_of_the_training_process():
    with started(find_address(), ['meet()\n1 / 0', f'meet()\n{SLEEP}']) as processes:
        status, _, errors = finish(processes[0])
        assert finish(processes[1])[0] == 1
    assert status == 1
    assert errors.endswith('ZeroDivisionError: division by zero\n')


@pytest.mark.parametrize(
    'number', [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_reaches_the_training_process(number):
    code = (
        'def note(number, frame):\n    say("once")\n'
        '    time.sleep(0.5)\n    os._exit(128 + number)\n'
        f'signal.signal({int(number)}, note)\nmeet()\nsay("met")\n{SLEEP}'
    )
    with started(find_address(), [code] * 2) as processes:
        assert [process.stdout.readline() for process in processes] == ['met\n'] * 2
        os.killpg(processes[0].pid, number)  # as Ctrl-C does
        assert finish(processes[0]) == (128 + number, 'once\n', '')
        status, _, errors = finish(processes[1])
    what = f'process 0 has ended with status {128 + number}'
    assert (status, errors) == (1, f'error: {what}\n')


@pytest.mark.parametrize('first', [0, 1])
def test_who_never_comes_is_named_while_waiting_and_in_the_end(first):
    with started(find_address(), [SLEEP], first, 2, seconds=1, notes_after=0.5) as (
        process,
    ):
        status, _, errors = finish(process)
    note, error = errors.splitlines()
    assert note in (f'waiting for process {1 - first} ({i} of 1 s)' for i in (0, 1))
    assert error.startswith(
        f'error: process {1 - first} did not come within 1 s (--host_timeout)'
    )
    assert status == 1


@pytest.mark.slow
def test_all_are_told_who_is_waited_for():
    late = 'meet()\ntime.sleep(2)\nmeet()'
    codes = ['meet()\nmeet()', 'meet()\nmeet()', late]
    with started(find_address(), codes, notes_after=0.5) as processes:
        ends = [finish(process) for process in processes]
    notes = {errors.splitlines()[-1] for _, _, errors in ends}
    assert notes <= {f'waiting for process 2 ({i} s)' for i in (0, 1)}


@pytest.mark.parametrize(
    ('first', 'of', 'config', 'message'),
    [
        (1, 2, {'seed': 1}, 'config.seed: process 0 was started with 0; start the same'),
        pytest.param(
            1, 3, {'seed': 0}, '--num_processes: process 0 was started with 2',
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_who_does_not_fit_is_sent_away_and_the_right_one_is_let_in(
    first, of, config, message
):
    address, same = find_address(), {'seed': 0, 'dataset': {'data_dir': '/mine'}}
    with started(address, ['meet()'], 0, 2, config=same) as (process,):
        with started(address, [SLEEP], first, of, config=config | {'dataset': {}}) as (
            wrong,
        ):
            status, _, errors = finish(wrong)
            assert (status, errors.count('\n')) == (1, 1)
            assert errors.startswith(f'error: {message}')
        with socket.create_connection(address.split(':'), timeout=60) as stranger:
            stranger.sendall(b'GET / HTTP/1.1\r\n\r\n')
        other = same | {'dataset': {'data_dir': '/yours'}}
        with started(address, ['meet()'], 1, 2, config=other) as (right,):
            assert finish(right) == finish(process) == (0, '', '')


def test_an_address_that_cannot_be_is_one_line():
    with socket.create_server(('127.0.0.1', 0)) as used:
        address = f'127.0.0.1:{used.getsockname()[1]}'
        with started(address, [SLEEP], 0, 2) as (process,):
            status, _, errors = finish(process)
    assert status == 1
    assert errors.startswith(
        'error: --coordinator_address: process 0 cannot listen at port'
    )
    assert errors.count('\n') == 1


def test_a_training_process_does_not_outlive_its_supervisor():
    with started(find_address(), ['say(os.getpid())\nmeet()'], 0, 2) as (process,):
        pid = int(process.stdout.readline())
        process.kill()
        process.wait()
        end = time.monotonic() + 30
        while is_alive(pid):
            time.sleep(0.05)
            assert time.monotonic() < end


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return ') Z ' not in file.read()
    except FileNotFoundError:
        return False
