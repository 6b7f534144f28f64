"""Writes ``tests/left_run``: a run that was interrupted after 10 steps.

Usage: PYTHONPATH=. python tests/leave_a_run.py
"""

import contextlib
import os
import shutil
import signal

from repository import ROOT
from training.test_resume import tiny

from mnist_flax.common.interrupts import Interrupted
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import trainer

LEFT_RUN = ROOT / 'tests/left_run'
steps = iter(range(1, 100))


def advance(self, num_steps, totals):
    if next(steps) == 10:
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == '__main__':
    trainer.Progress.advance = advance
    shutil.rmtree(LEFT_RUN, ignore_errors=True)
    with contextlib.suppress(Interrupted):
        train_and_evaluate(tiny(num_devices=1), str(LEFT_RUN))
    (LEFT_RUN / '.lock').unlink()
    shutil.rmtree(LEFT_RUN / 'checkpoints/runs_0-0/7')
