"""Writes ``tests/left_run`` for `test_resume`: a run that was left after 10 steps."""

import contextlib
import os
import shutil
import signal

from test_resume import LEFT_RUN, tiny

from mnist_flax.training import trainer
from mnist_flax.common.interrupts import Interrupted
from mnist_flax.train import train_and_evaluate


def main():
    steps = iter(range(1, 100))

    def advance(self, num_steps, totals):
        if next(steps) == 10:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.Progress.advance = advance
    shutil.rmtree(LEFT_RUN, ignore_errors=True)
    with contextlib.suppress(Interrupted):
        train_and_evaluate(tiny(num_devices=1), str(LEFT_RUN))
    (LEFT_RUN / '.lock').unlink()
    shutil.rmtree(LEFT_RUN / 'checkpoints/runs_0-0/7')


if __name__ == '__main__':
    main()
