import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from repository import ROOT

from mnist_flax.common.interrupts import Interrupted, defer_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def receive(*numbers, error=None):
    """Receives signals where they are deferred; returns the one that is noted."""
    with defer_signals() as pending:
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        pending.message = f'noted {pending.signal_number}'
        if error:
            raise error
    return pending.signal_number


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_waits_until_the_end(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Interrupted, match=f'noted {number:d}') as caught:
        receive(number)
    assert caught.value.signal_number == number
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert capfd.readouterr().err == 'saving the run; a second signal ends it at once\n'
    with pytest.raises(ValueError, match='mine'):  # which the signal does not hide
        receive(number, error=ValueError('mine'))


def test_the_second_signal_ends_the_process_whatever_it_is_in():
    """Even in compiled code, after which Python's own handlers would have to wait."""
    program = (
        'import os, signal, sys, time, zlib\n'
        'from mnist_flax.common.interrupts import defer_signals\n'
        'signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))\n'
        'with defer_signals():\n'
        '    os.kill(os.getpid(), signal.SIGINT)\n'
        '    print("noted", flush=True)\n'
        '    pow(3, 10**8)\n'  # minutes without returning to Python's loop
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'noted\n'
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == -signal.SIGINT
    assert process.stdout.read() == ''


def test_where_ctrl_c_is_an_exception_the_second_one_is():
    # What other tests have started in this process, such as a browser, may have changed it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            receive(signal.SIGINT, signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert type(caught.value) is KeyboardInterrupt


def test_without_a_signal_and_in_other_threads_nothing_happens():
    found = [receive()]
    thread = threading.Thread(target=lambda: found.append(receive()))
    thread.start()
    thread.join()
    assert found == [0, 0]
