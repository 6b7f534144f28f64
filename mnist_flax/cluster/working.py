"""A worker: trains one free group after the other, until none is left."""

import pathlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from mnist_flax.cluster import status
from mnist_flax.cluster.shared_workdirs import WORK, SharedWorkdir
from mnist_flax.common.errors import UserError, require, to_line
from mnist_flax.common.worker import Worker
from mnist_flax.reporting import reports
from mnist_flax.training.plan import Plan
from mnist_flax.training.progress import TimeLeft
from mnist_flax.training.results import RunResult
from mnist_flax.training.snapshots import SnapshotStore
from mnist_flax.training.trainer import Trainer

# Before the groups are looked at once more that seemed to be another process's: `status`
# locks one for a moment to see whether it is free.
_PAUSE_SECONDS = 0.5

# Of a group: the prefix of its program, and its first and last run.
_NAME = re.compile(r'(?:(.+)/)?runs_(\d+)-(\d+)')

# What ends a group, and says nothing of the groups of other programs.
_OF_A_GROUP = (UserError, MemoryError, OSError, jax.errors.JaxRuntimeError)

# Writes the results of a group into its folder, with the seconds that they took.
Save = Callable[['Program', pathlib.Path, list[RunResult], dict[str, float]], None]


class Program(NamedTuple):
    """Runs that are trained by one program."""

    prefix: str  # of the names of its groups, such as that of a variant
    plan: Plan
    settings: dict[str, Any]  # as plain values

    @property
    def first(self) -> str:
        """Identifies it by its first run."""
        return self.name(range(1))

    def name(self, runs: range) -> str:
        """Names a group, whose positions in the plan these are."""
        first, last = (self.plan.runs[i].position for i in (runs[0], runs[-1]))
        return str(pathlib.PurePosixPath(self.prefix, f'runs_{first}-{last}'))


def name_groups(programs: Sequence[Program], field: str) -> list[str]:
    """Divides the runs of programs into groups, and names these.

    Args:
      programs: The programs.
      field: The field of the config that says how many runs a group has.

    Raises:
      UserError: It does not say, so that machines would divide the runs differently.
    """
    require(
        all(program.plan.settings.runs_at_once for program in programs),
        f'{field}: found 0; allowed with workers: 1 or more, how many runs are trained '
        'side by side, which must not depend on the machine',
    )
    require(
        all(program.plan.checkpoint.resume for program in programs),
        'config.checkpoint.resume: found False; allowed with workers: True',
    )
    names: list[str] = []
    for program in programs:
        num_runs, size = len(program.plan.runs), program.plan.settings.runs_at_once
        groups = [range(num_runs)[i : i + size] for i in range(0, num_runs, size)]
        names += map(program.name, groups)
    return names


def work(
    shared: SharedWorkdir,
    programs: Sequence[Program],
    worker: Worker,
    save: Save,
    show: bool,
) -> bool:
    """Trains groups that are free, until none is left.

    A group that was begun is resumed. One that fails is left out, as are the others of its
    program. In the end each worker tries once what has failed in others.

    Args:
      shared: The workdir.
      programs: The programs of all groups.
      worker: Which one this is: where it begins among the groups.
      save: Writes the results of a group into its folder.
      show: Whether to show the epochs, and to record them.

    Returns:
      Whether all groups are finished, by whomever.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: The workdir cannot be used, or a group has failed, after the others.
    """
    assigned = assign(shared, programs)
    start = len(shared.names) * worker.number // worker.num_workers
    names = [*shared.names[start:], *shared.names[:start]]
    left = {*names} - shared.list_finished()
    time_left = TimeLeft(
        sum(len(runs) for _, runs in assigned.values()),
        sum(len(assigned[name][1]) for name in left) / worker.num_workers,
    )
    training = _Training(shared, time_left, show)
    failed: dict[str, str] = {}  # by the first group of a program
    for is_again in (False, True):
        if is_again:
            time.sleep(_PAUSE_SECONDS)
        for name in names:
            program, runs = assigned[name]
            if program.first in failed:
                continue
            with shared.hold(name, is_again) as folder:
                if folder is None:
                    continue
                start_time = time.perf_counter()
                try:
                    save(program, folder, *training.train(program, runs, folder))
                    environment = reports.environment(program.plan.mesh)
                    shared.publish(name, environment, time.perf_counter() - start_time)
                except Exception as error:
                    reason = to_line(' '.join(str(error).split())) or type(error).__name__
                    shared.fail(name, reason)
                    if not isinstance(error, _OF_A_GROUP):
                        raise
                    failed[program.first] = f'{name}: {reason}'
                    print(f'warning: {name} fails: {reason}', file=sys.stderr, flush=True)
        if shared.list_finished() == {*names}:
            return True
    require(not failed, f'not trained: {"; ".join(failed.values())}')
    print(
        'nothing is left for this worker; not finished: '
        + status.describe_unfinished(shared),
        flush=True,
    )
    return False


class _Training:
    """Trains groups; what was compiled for one is kept for the next."""

    def __init__(self, shared: SharedWorkdir, time_left: TimeLeft, show: bool):
        self._shared = shared
        self._time_left = time_left
        self._show = show
        self._program: Program | None = None
        self._trainer: Trainer | None = None

    def train(
        self, program: Program, runs: range, folder: pathlib.Path
    ) -> tuple[list[RunResult], dict[str, float]]:
        """Trains the runs at these positions, and returns the seconds that they took."""
        trainer = self._trainer if program is self._program else None
        if trainer is None:
            work = self._shared.folder / WORK / program.prefix
            store = SnapshotStore(work, program.plan, program.settings)
            trainer = Trainer(program.plan, store, self._time_left, self._show)
        self._program, self._trainer = program, None  # not to be used after a failure
        before = trainer.compile_seconds, trainer.train_seconds
        (results,) = trainer.train(folder if self._show else None, [runs])
        self._trainer = trainer
        return results, {
            'compile_seconds': trainer.compile_seconds - before[0],
            'train_seconds': trainer.train_seconds - before[1],
        }


def assign(
    shared: SharedWorkdir, programs: Sequence[Program]
) -> dict[str, tuple[Program, range]]:
    """Finds the program of each group, and its runs as positions in the plan."""
    positions = {
        (program.prefix, planned.position): (program, i)
        for program in programs
        for i, planned in enumerate(program.plan.runs)
    }
    assigned = {}
    found: list[tuple[str, int]] = []
    for name in shared.names:
        match = _NAME.fullmatch(name)
        prefix, first, last = match.groups('') if match else ('', '-1', '-1')
        if (prefix, int(first)) in positions:
            program, i = positions[prefix, int(first)]
            assigned[name] = program, range(i, i + int(last) - int(first) + 1)
        found += [(prefix, of) for of in range(int(first), int(last) + 1)]
    require(
        sorted(found) == sorted(positions),
        f'--workdir: the groups that workers share in {shared.folder} are not those of '
        'these runs; use another folder',
    )
    return assigned
