"""Which of several processes this is, by its flags or by the scheduler that started it."""

import os
from typing import NamedTuple

from mnist_flax.common.errors import UserError, require


class Worker(NamedTuple):
    """One of several processes, among which groups of runs are dealt out like cards."""

    number: int  # from 0
    num_workers: int

    def has(self, position: int) -> bool:
        """Tells whether it gets the group at a position of a common list."""
        return position % self.num_workers == self.number


def read(worker: str, num_workers: int | None) -> Worker:
    """Reads the flags ``--worker`` and ``--num_workers``.

    Args:
      worker: A number, or ``'auto'``: that of a task of a Slurm array, or of a pod of an
        indexed job of Kubernetes.
      num_workers: How many there are; None if Slurm knows.

    Raises:
      UserError: It is no worker, or nothing says which.
    """
    if worker != 'auto':
        require(
            worker.isascii() and worker.isdecimal(),
            f"--worker: found {worker!r}; allowed: a number from 0, or 'auto'",
        )
        require(num_workers is not None, '--num_workers is missing; give it with --worker')
        number = int(worker)
    elif 'SLURM_ARRAY_TASK_ID' in os.environ:
        first, step = (_read(f'SLURM_ARRAY_TASK_{of}') for of in ('MIN', 'STEP'))
        number = (_read('SLURM_ARRAY_TASK_ID') - first) // max(1, step)
        num_workers = num_workers or _read('SLURM_ARRAY_TASK_COUNT')
    elif 'JOB_COMPLETION_INDEX' in os.environ:
        require(
            num_workers is not None,
            '--num_workers is missing; give the completions of the indexed job',
        )
        number = _read('JOB_COMPLETION_INDEX')
    else:
        raise UserError(
            "--worker: found 'auto', but no scheduler says which one this is "
            '(SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX); give a number'
        )
    assert num_workers is not None
    require(
        number < num_workers,
        f'--worker: found {number}; allowed: 0 to {num_workers - 1}, as there are '
        f'{num_workers}',
    )
    return Worker(number, num_workers)


def _read(variable: str) -> int:
    text = os.environ.get(variable, '')
    require(
        text.isascii() and text.isdecimal(),
        f'--worker: {variable} is {text!r}, and not a number',
    )
    return int(text)
