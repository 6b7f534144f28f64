import contextlib
import os
import pty
import subprocess
import sys
import termios

import numpy as np
from repository import ROOT

from mnist_flax.training.metrics import Totals, row_columns
from mnist_flax.training.plan import RunPlan
from mnist_flax.training.progress import Progress, TimeLeft
from mnist_flax.training.results import Divergence

COLUMNS = row_columns('test')
ROW = dict(zip(COLUMNS, (1, 0.5, 0.9, 0.25, 0.95), strict=True))
GONE = Divergence(1, 2, 0.1)
TOTALS = Totals(np.array([2.0]), np.array([3]), np.array([4]), np.array([4]))
RUNS = [RunPlan(i, seed, {}, {}) for i, seed in enumerate((7, 8, 9))]


def show(num_runs, num_groups, num_epochs, **options):
    time_left = TimeLeft(num_runs)
    return Progress(
        time_left, num_groups, num_epochs, steps_per_epoch=4, validation='test', **options
    )


def test_a_log_has_a_line_an_epoch_and_no_bar(capsys):
    with show(1, 1, 10) as progress:
        progress.start(RUNS[:1])
        progress.advance(4, TOTALS)
        progress.report(1, [[ROW]], [None], seconds=1.26)
    out, err = capsys.readouterr()
    assert out == (
        'epoch  1/10  train loss 0.5000 accuracy 0.9000'
        '  test loss 0.2500 accuracy 0.9500  (1.3 s)\n'
    )
    assert err == ''


def test_a_log_of_several_runs_says_which_and_shows_means(capsys):
    other = dict(zip(COLUMNS, (1, 0.3, 0.92, 0.15, 0.97), strict=True))
    with show(3, 2, 5) as progress:
        progress.start(RUNS[:2])
        progress.report(1, [[ROW], [other], [ROW]], [None, None, GONE], seconds=1.26)
        progress.start(RUNS[2:])
        progress.report(1, [[ROW]], [None], seconds=1.0)
    out, _ = capsys.readouterr()
    assert out == (
        'runs 1 to 2 of 3: seeds 7, 8\n'
        'epoch 1/5  mean of 2  train loss 0.4000 accuracy 0.9100'
        '  test loss 0.2000 accuracy 0.9600  1 diverged  (1.3 s)\n'
        'run 3 of 3: seed 9\n'
        'epoch 1/5  train loss 0.5000 accuracy 0.9000'
        '  test loss 0.2500 accuracy 0.9500  (1.0 s)\n'
    )


def test_the_time_left_is_that_of_all_runs(capsys):
    left = TimeLeft(10)
    assert str(left) == ''
    left.add(2, part=0.0, seconds=3.0)  # which an earlier process had trained
    assert str(left) == ''
    left.add(2, part=0.5, seconds=60.0)  # resumed: a minute for half of two runs
    assert str(left) == '; about 6 min left for all'
    with Progress(left, 3, 5, steps_per_epoch=4, validation='test') as progress:
        progress.start(RUNS[:1])
    assert capsys.readouterr().out == 'run 1 of 10: seed 7; about 6 min left for all\n'


def test_a_line_has_what_else_is_measured(capsys):
    with show(1, 1, 1) as progress:
        progress.report(
            1, [[{**ROW, 'train_norm': 2.0, 'strangers_accuracy': 0.875}]], [None], 1.0
        )
    _, second = capsys.readouterr().out.splitlines()
    assert second == '    train_norm 2  strangers_accuracy 0.875'


def test_a_long_list_of_seeds_is_shortened(capsys):
    many = [RunPlan(i, 5 + i % 10, {}, {}) for i in range(30)]
    with show(90, 3, 1) as progress:
        progress.start(many)
    assert capsys.readouterr().out == 'runs 1 to 30 of 90: seeds 5, 6, 7, 8, ..., 14\n'


def test_nothing_is_shown_if_not_wanted(capsys):
    with show(1, 1, 1, shown=False) as progress:
        progress.start(RUNS[:1])
        progress.advance(4, TOTALS)
        progress.report(1, [[ROW]], [None], seconds=1.0)
    assert capsys.readouterr() == ('', '')


def test_a_terminal_has_a_live_bar():
    program = (
        'import time\n'
        'from numpy import array\n'
        'from mnist_flax.training.metrics import Totals\n'
        'from mnist_flax.training.progress import Progress, TimeLeft\n'
        f'row = {ROW}\n'
        f'totals = {TOTALS}\n'
        'with Progress(TimeLeft(1), 1, 2, 40, "test") as progress:\n'
        '    for _ in range(3):\n'
        '        progress.advance(10, totals)\n'
        '        time.sleep(0.2)\n'
        '    progress.report(1, [[row]], [None], 1.0)\n'
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


def test_resumed_runs_say_where_and_what_is_left(capsys):
    with show(1, 1, 5) as progress:
        progress.skip(0)
        progress.skip(8)
        progress.skip(11)
    assert capsys.readouterr().out == (
        'resumed: 2 of 5 epochs were done before\n'
        'resumed: 2 of 5 epochs and 3 of the next 4 steps were done before\n'
    )
