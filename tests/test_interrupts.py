import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from mnist_flax.interrupts import Interrupted, put_off

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_waits_until_the_end(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    steps = []

    def work():
        with put_off() as pending:
            os.kill(os.getpid(), number)
            steps.append(pending.signal_number)
            pending.saved_in = pathlib.Path('/a/b')

    with pytest.raises(Interrupted, match='saved in /a/b; the same command') as caught:
        work()
    assert steps == [number]
    assert caught.value.signal_number == number
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert capfd.readouterr().err == 'saving the run; once more leaves at once\n'


def test_the_second_signal_does_what_it_would_have_done():
    program = (
        'import os, signal\n'
        'from mnist_flax.interrupts import put_off\n'
        'signal.signal(signal.SIGINT, lambda *_: os._exit(77))\n'
        'with put_off():\n'
        '    for i in range(2):\n'
        '        os.kill(os.getpid(), signal.SIGINT)\n'
        '        print("noted", flush=True)\n'
    )
    process = subprocess.run(
        [sys.executable, '-c', program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (77, 'noted\n')


def test_without_a_signal_and_in_other_threads_nothing_happens():
    seen = []

    def work():
        with put_off() as pending:
            seen.append(pending.signal_number)

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0, 0]


def test_an_error_is_not_hidden_by_a_signal():
    def work():
        with put_off():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError('mine')

    with pytest.raises(ValueError, match='mine'):
        work()
