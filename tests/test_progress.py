import contextlib
import os
import pty
import subprocess
import sys
import termios

from conftest import ROOT

from mnist_flax.metrics import EpochMetrics, Totals
from mnist_flax.progress import Progress

ROW = EpochMetrics(1, 0.5, 0.9, 0.25, 0.95)
TOTALS = Totals(2.0, 3, 4)


def test_a_log_has_a_line_an_epoch_and_no_bar(capsys):
    with Progress(num_epochs=10, steps_per_epoch=4) as progress:
        progress.advance(4, TOTALS)
        progress.report(ROW, seconds=1.26)
    out, err = capsys.readouterr()
    assert out == (
        'epoch  1/10  train loss 0.5000 accuracy 0.9000'
        '  validation loss 0.2500 accuracy 0.9500  (1.3 s)\n'
    )
    assert err == ''


def test_a_terminal_has_a_live_bar():
    program = (
        'import time\n'
        'from mnist_flax.metrics import EpochMetrics, Totals\n'
        'from mnist_flax.progress import Progress\n'
        f'row = {ROW}\n'
        f'totals = {TOTALS}\n'
        'with Progress(2, 40) as progress:\n'
        '    for _ in range(3):\n'
        '        progress.advance(10, totals)\n'
        '        time.sleep(0.2)\n'
        '    progress.report(row, 1.0)\n'
        '    progress.advance(10, totals)\n'
    )
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 120))
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=ROOT, stdout=stderr, stderr=stderr
    )
    os.close(stderr)
    shown = b''
    with contextlib.suppress(OSError):  # raised once the other end has closed
        while block := os.read(terminal, 4096):
            shown += block
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert 'epoch 1/2:' in text
    assert '/80 [' in text  # steps of both epochs, then elapsed time < time left
    assert 'epoch 2/2:' in text
    assert 'accuracy 0.7500' in text  # of the epoch so far
    assert 'epoch 1/2  train loss 0.5000' in text
