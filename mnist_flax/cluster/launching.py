"""Starts workers: as tasks of a Slurm array, or as processes of this machine."""

import contextlib
import importlib.util
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from mnist_flax.cluster import local_shares
from mnist_flax.common.errors import UserError, require

LOGS = 'jobs'  # in the workdir: what submitit writes, and what workers print

_MOST_REQUEUES = 1000  # at the time limit
_SECONDS_TO_SAVE = 90  # before the time limit

# Time limits, if the user gives none.
_SLURM_HOURS, _LOCAL_HOURS = 24.0, 7 * 24.0


class Resources(NamedTuple):
    """What each worker gets."""

    partition: str | None
    cpus_per_task: int | None
    gpus_per_task: int
    mem_gb: float | None
    hours: float | None
    sbatch: Mapping[str, str | bool]  # further parameters, by name


class Task:
    """A worker as a job of submitit: a command that saves before it is requeued."""

    def __init__(
        self, command: Sequence[str], cores: Sequence[int] = (), is_local: bool = False
    ):
        self._command = [*command]
        self._cores = [*cores]
        self._is_local = is_local
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Runs the command."""
        if self._cores:
            os.sched_setaffinity(0, self._cores)
        # The signal of the time limit, which may reach all processes, is for this one.
        self._process = subprocess.Popen(self._command, preexec_fn=_ignore_usr2)
        if self._is_local:  # Slurm tells all processes
            signal.signal(signal.SIGTERM, self._pass_on)
        if status := self._wait():
            sys.exit(status)  # which Slurm shows as a failure

    def checkpoint(self) -> Any:
        """Is called by submitit near the time limit; returns what to run next time."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has ended
                os.kill(self._process.pid, signal.SIGTERM)  # it saves its runs and ends
                self._wait()
        return DelayedSubmission(Task(self._command, self._cores, self._is_local))

    def _pass_on(self, signal_number: int, frame: FrameType | None) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal_number)  # it saves its runs and ends

    def _wait(self) -> int:
        # Not by the process's `wait`: `checkpoint` is called in the midst of that, by a
        # signal handler, and would wait for its lock for ever.
        assert self._process is not None
        return os.waitstatus_to_exitcode(os.waitpid(self._process.pid, 0)[1])


def _ignore_usr2() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def choose_cluster(num_workers: int, resources: Resources, cluster: str) -> str:
    """Checks what can be checked before anything is made or started.

    Args:
      num_workers: How many to start.
      resources: What each gets.
      cluster: ``'slurm'``, ``'local'``, or ``'auto'`` for Slurm where it is.

    Returns:
      ``'slurm'`` or ``'local'``.

    Raises:
      UserError: There is no Slurm, or this machine is too small.
    """
    require(
        importlib.util.find_spec('submitit') is not None,
        "--num_workers: submitit is not installed; pip install -e '.[slurm]'",
    )
    has_slurm = shutil.which('sbatch') is not None
    require(
        has_slurm or cluster != 'slurm',
        '--cluster: found slurm, but there is no sbatch here; log in to a machine of the '
        'cluster, or use --cluster=local',
    )
    if has_slurm and cluster != 'local':
        return 'slurm'
    for name, value in (('partition', resources.partition), ('sbatch', resources.sbatch)):
        require(
            not value,
            f'--{name}: it is for Slurm, but workers are started on this machine, where '
            'there is no sbatch or as --cluster=local says; leave it out',
        )
    local_shares.divide(num_workers, resources.cpus_per_task, resources.gpus_per_task)
    return 'local'


def launch(
    command: Sequence[str],
    folder: pathlib.Path,
    num_workers: int,
    resources: Resources,
    cluster: str,
) -> str:
    """Starts workers, and under Slurm a job that writes the report when they have ended.

    Args:
      command: The program and its flags, without those of workers.
      folder: The workdir that they share.
      num_workers: How many.
      resources: What each gets.
      cluster: What `choose_cluster` returns.

    Returns:
      What was started, for the user.

    Raises:
      UserError: Slurm refuses the job.
    """
    start = _launch_slurm if cluster == 'slurm' else _launch_local
    return start(command, folder, num_workers, resources)


def _launch_local(
    command: Sequence[str], folder: pathlib.Path, num_workers: int, resources: Resources
) -> str:
    import submitit

    per_task = resources.cpus_per_task, resources.gpus_per_task
    shares = local_shares.divide(num_workers, *per_task)
    commands, started = _add_workers(command, num_workers), []
    for of_worker, (cores, gpus) in zip(commands, shares, strict=True):
        executor = submitit.LocalExecutor(folder / LOGS, max_num_timeout=_MOST_REQUEUES)
        executor.update_parameters(
            timeout_min=60 * (resources.hours or _LOCAL_HOURS),
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
        )
        with _silent():
            job = executor.submit(Task(of_worker, cores, is_local=True))
        started.append(job.job_id)
    return f'{num_workers} processes of this machine, which `kill {" ".join(started)}` ends'


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Gives the processes that are started nothing to write to, which have logs.

    Who reads what this process prints, through a pipe, would wait for them.
    """
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        yield
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nothing)


def _launch_slurm(
    command: Sequence[str], folder: pathlib.Path, num_workers: int, resources: Resources
) -> str:
    import submitit
    from submitit.core.utils import FailedJobError

    parameters = _slurm_parameters(resources)
    executor = submitit.SlurmExecutor(folder / LOGS, max_num_timeout=_MOST_REQUEUES)
    report = submitit.SlurmExecutor(folder / LOGS)
    executor.update_parameters(**parameters, array_parallelism=num_workers)
    tasks = [Task(of_worker) for of_worker in _add_workers(command, num_workers)]
    started = 'nothing was started'
    try:
        jobs = executor.submit_array(tasks)
        job = jobs[0].job_id.partition('_')[0]
        started = f'job {job} of {num_workers} tasks was started; `scancel {job}` ends it'
        parameters.pop('gpus_per_task', None)
        report.update_parameters(**parameters, dependency=f'afterany:{job}')
        last = report.submit(Task([*command, '--gather']))
    except FailedJobError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'--cluster: Slurm refuses a job ({reason}); {started}') from error
    return f'job {job} of {num_workers} tasks, and job {last.job_id} for the report'


def _add_workers(command: Sequence[str], num_workers: int) -> list[list[str]]:
    return [
        [*command, '--launched', f'--worker={number}', f'--num_workers={num_workers}']
        for number in range(num_workers)
    ]


def _slurm_parameters(resources: Resources) -> dict[str, Any]:
    parameters = {
        'partition': resources.partition,
        'cpus_per_task': resources.cpus_per_task,
        'gpus_per_task': resources.gpus_per_task or None,
        'mem': None if resources.mem_gb is None else f'{resources.mem_gb * 1024:.0f}M',
        'time': math.ceil((resources.hours or _SLURM_HOURS) * 60),
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    # What a node that dies, or a more important job, has ended starts again by itself.
    return {
        **given,
        'job_name': 'mnist_flax',
        'signal_delay_s': round(
            min(_SECONDS_TO_SAVE, (resources.hours or _SLURM_HOURS) * 3600 / 4)
        ),
        'additional_parameters': {'requeue': True, **resources.sbatch},
    }
