"""Which of several processes this is, by its flags or by the scheduler that started it."""

import os
from typing import NamedTuple

from mnist_flax.common.errors import UserError, require


class Worker(NamedTuple):
    """One of several processes that train the runs of a config."""

    number: int  # from 0
    num_workers: int


def read(worker: str, num_workers: int | None) -> Worker:
    """Reads the flags ``--worker`` and ``--num_workers``.

    Args:
      worker: A number, or ``'auto'``: that of a task of a Slurm array or of `srun`, or of a
        pod of an indexed job of Kubernetes.
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
        assert num_workers is not None
        number = int(worker)
        require(
            number < num_workers,
            f'--worker: found {number}; allowed: 0 to {num_workers - 1}, as there are '
            f'{num_workers}',
        )
        return Worker(number, num_workers)
    if 'SLURM_ARRAY_TASK_ID' in os.environ:
        number = _read('SLURM_ARRAY_TASK_ID')
        # Not from the number of tasks: a single one may have been submitted again.
        num_workers = num_workers or _read('SLURM_ARRAY_TASK_MAX') + 1
    elif 'SLURM_PROCID' in os.environ:
        number = _read('SLURM_PROCID')
        num_workers = num_workers or _read('SLURM_NTASKS')
    elif 'JOB_COMPLETION_INDEX' in os.environ:
        number = _read('JOB_COMPLETION_INDEX')
        require(
            num_workers is not None,
            '--num_workers is missing; give the completions of the indexed job',
        )
    else:
        raise UserError(
            "--worker: found 'auto', but no scheduler says which one this is "
            '(SLURM_ARRAY_TASK_ID, SLURM_PROCID or JOB_COMPLETION_INDEX); give a number'
        )
    assert num_workers is not None
    return Worker(number % num_workers, num_workers)  # arrays often start at 1


def _read(variable: str) -> int:
    text = os.environ.get(variable, '')
    require(
        text.isascii() and text.isdecimal(),
        f'--worker: {variable} is {text!r}, and not a number',
    )
    return int(text)
