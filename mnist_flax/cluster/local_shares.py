"""The cores and GPUs of this machine, divided among workers."""

import os
import subprocess

from mnist_flax.common.errors import require


def divide(
    num_workers: int, cpus_per_task: int | None, gpus_per_task: int
) -> list[tuple[list[int], list[int]]]:
    """Divides this machine among workers.

    Args:
      num_workers: How many.
      cpus_per_task: Cores of each; None for an equal part.
      gpus_per_task: GPUs of each.

    Returns:
      For each its cores, none where a process cannot be kept on some, and its GPUs.

    Raises:
      UserError: The machine is too small, or would train on cores although it has GPUs.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
    num_cores = cpus_per_task or len(cores) // num_workers
    require(
        not cores or 1 <= num_cores <= len(cores) // num_workers,
        f'--num_workers: found {num_workers} of {max(1, num_cores)} cores each; this '
        f'machine has {len(cores)}',
    )
    gpus, num_gpus = _list_gpus(), gpus_per_task
    require(
        num_gpus * num_workers <= len(gpus),
        f'--num_workers: found {num_workers} with --gpus_per_task={num_gpus}; this '
        f'machine has {len(gpus)} GPUs',
    )
    require(
        num_gpus > 0 or not gpus or os.environ.get('JAX_PLATFORMS') == 'cpu',
        f'--gpus_per_task: found 0, though this machine has {len(gpus)} GPUs; add '
        '--gpus_per_task=1, or set JAX_PLATFORMS=cpu to leave them out',
    )
    return [
        (
            cores[i * num_cores : (i + 1) * num_cores],
            gpus[i * num_gpus : (i + 1) * num_gpus],
        )
        for i in range(num_workers)
    ]


def _list_gpus() -> list[int]:
    """Lists the numbers of the GPUs that this process may use."""
    try:
        listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus = [*range(listed.stdout.count(b'GPU '))]
    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    if chosen is None:
        return gpus
    require(
        all(word.isdecimal() for word in chosen.split(',') if word),
        f'CUDA_VISIBLE_DEVICES: found {chosen!r}; allowed with workers: numbers, as 0,1',
    )
    return [int(word) for word in chosen.split(',') if word]
