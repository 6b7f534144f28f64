"""A workdir that processes share, each of which trains the next group that is free.

- ``shared.json``: the settings and the names of all groups, by whoever came first.
- ``work/GROUP``: a group that was begun, with its lock, checkpoints and records.
- ``finished/GROUP``: one whose results are complete, renamed from ``work/`` as a whole.

Whoever holds the lock of a group trains it. No clock is compared. If a drive shows late
that a group is finished, it is trained once more, with the same numbers, and dropped.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import typeguard

from mnist_flax.checkpointing import checkpoints, earlier_runs, workdirs
from mnist_flax.common import files
from mnist_flax.common.errors import UserError, require

WORK, FINISHED = 'work', 'finished'
ABOUT = 'about.json'  # of a finished group: where it was trained, and the seconds

_FAILED = 'failed.txt'  # why, for `status` and so that not all workers try in turn
_REPORTED = 'reported.txt'  # of how many groups the report is
_OWNER = 'owner.txt'  # who trains the group, for `status`

# What is in the folder of a group, beside its lock and what its training leaves.
NOTES = (ABOUT, _FAILED, _OWNER)


class _Shared(TypedDict):
    """The contents of ``shared.json``."""

    id: str  # drawn at random
    settings: dict[str, Any]
    groups: list[str]


class _Environment(TypedDict):
    """What `reports.environment` returns."""

    device: str
    num_devices: int
    versions: dict[str, str]


class _About(TypedDict):
    """What is noted of a finished group."""

    id: str  # of the shared workdir
    environment: _Environment
    seconds: float


class SharedWorkdir:
    """The groups of a shared workdir, with what has become of each.

    Attributes:
      folder: Where it is.
      names: The names of all groups, in order, such as ``recipe/runs_0-1``.
      settings: What all have agreed on.
    """

    def __init__(self, folder: pathlib.Path):
        """Opens one to look at it.

        Raises:
          UserError: It is none, or was damaged.
        """
        self.folder = folder
        path = folder / earlier_runs.SHARED
        require(
            path.exists(),
            f'--workdir: no workers share {folder} (it has no {path.name}), or this '
            'machine has another folder of that name; name the one that they share',
        )
        self._written = _stat(path)
        found = _read_json(path, _Shared)
        self.names = found['groups']
        self.settings = found['settings']
        self._id = found['id']
        self._finished = self.list_finished()
        # What has failed before is tried again, once by each worker that starts.
        self._to_retry = {name for name in self.list_begun() if self.read_failure(name)}

    def require_unchanged(self) -> None:
        """Checks that the workdir was not removed, and perhaps made anew by others.

        Raises:
          UserError: It was.
        """
        require(
            _stat(self.folder / earlier_runs.SHARED) == self._written,
            f'--workdir: {self.folder} was removed or replaced while this process was '
            'working in it; it writes no more there',
        )

    def list_finished(self) -> set[str]:
        """Lists the groups that are finished, at the cost of listing one folder."""
        return self._list(FINISHED)

    def list_begun(self) -> set[str]:
        """Lists the groups that were begun and are not finished."""
        return self._list(WORK) - self.list_finished()

    def read_failure(self, name: str) -> str:
        """Returns why a group has failed; nothing if it has not."""
        return _read(self.folder / WORK / name / _FAILED)

    def read_owner(self, name: str) -> str:
        """Returns who trains a group; nothing if nobody does."""
        folder = self.folder / WORK / name
        if not folder.exists():
            return ''
        try:
            with workdirs.lock(folder, is_shared=True):
                return ''
        except workdirs.BusyError:
            return _read(folder / _OWNER) or 'another process'
        except UserError:  # who may only read
            return f'{_read(folder / _OWNER)}, unless that has ended'

    def read_environment(self, names: Sequence[str]) -> dict[str, Any]:
        """Describes where groups were trained, which ought to be the same for all.

        Raises:
          UserError: What was noted of one cannot be read.
        """
        found = {name: self.read_about(name)['environment'] for name in names}
        first = found[names[0]]
        others = [of for of in names if found[of]['versions'] != first['versions']]
        if others:
            print(
                f'warning: {len(others)} groups, such as {others[0]}, were trained with '
                f'other versions of packages than {names[0]}, which the report names',
                file=sys.stderr,
                flush=True,
            )
        devices = dict.fromkeys(of['device'] for of in found.values())
        return {**first, 'device': ' and '.join(devices)}

    def read_about(self, name: str) -> dict[str, Any]:
        """Reads where a finished group was trained, and the seconds that it took.

        Raises:
          UserError: That cannot be read, or is of other settings.
        """
        path = self.folder / FINISHED / name / ABOUT
        about = _read_json(path, _About)
        require(
            about['id'] == self._id,
            f'--workdir: {path.parent} was trained for another {earlier_runs.SHARED} than '
            'the one that is there; move that folder away to train its runs anew',
        )
        return about

    def newest_step(self, name: str) -> int:
        """Returns the step of a group's newest checkpoint; 0 without any."""
        return checkpoints.newest_step(self.folder / WORK / name)

    @contextlib.contextmanager
    def hold(self, name: str, is_again: bool = False) -> Iterator[pathlib.Path | None]:
        """Takes a group that is free, until the end of the context.

        Args:
          name: The group.
          is_again: Whether to take one that has failed while this process was working.

        Yields:
          Its folder; None if it is finished, has failed, or is another process's.

        Raises:
          UserError: Files cannot be made there, or not be locked.
        """
        with contextlib.ExitStack() as stack:
            is_left = name not in self._finished
            yield self._take(name, is_again, stack) if is_left else None

    def _take(
        self, name: str, is_again: bool, stack: contextlib.ExitStack
    ) -> pathlib.Path | None:
        self.require_unchanged()
        folder = self.folder / WORK / name
        try:
            files.make_folder(folder)
            stack.enter_context(workdirs.lock(folder, is_shared=True))
        except workdirs.BusyError:
            return None
        except (OSError, UserError) as error:
            if self._is_finished(name):  # renamed at this moment
                return None
            if isinstance(error, UserError):
                raise
            raise workdirs.not_writable('--workdir', str(folder), error) from error
        if self._is_finished(name):
            self._finished = self.list_finished()
            shutil.rmtree(folder, ignore_errors=True)  # made anew just now
            return None
        if self.read_failure(name) and not is_again and name not in self._to_retry:
            return None
        self._to_retry.discard(name)
        (folder / _FAILED).unlink(missing_ok=True)
        job = os.environ.get('SLURM_JOB_ID')
        who = f'{socket.gethostname()}, process {os.getpid()}'
        who += f', job {job}' if job else ''
        workdirs.write(folder, {_OWNER: who.encode()})
        return folder

    def _is_finished(self, name: str) -> bool:
        return (self.folder / FINISHED / name).exists()

    def publish(self, name: str, environment: dict[str, Any], seconds: float) -> None:
        """Notes that a group is finished, whose results are in its folder.

        If this is cut short, the group is resumed from its last checkpoint.

        Args:
          name: The group, which this process holds.
          environment: Where it was trained, as `reports.environment` describes it.
          seconds: That it took.

        Raises:
          UserError: Its folder cannot be written.
        """
        folder, finished = self.folder / WORK / name, self.folder / FINISHED / name
        self.require_unchanged()
        about = {'id': self._id, 'environment': environment, 'seconds': seconds}
        workdirs.write(folder, {ABOUT: json.dumps(about).encode()})
        try:
            files.make_folder(finished.parent)
            folder.rename(finished)
            files.sync(finished.parent)
        except OSError as error:
            if not finished.exists():
                raise workdirs.not_writable('--workdir', str(finished), error) from error
            shutil.rmtree(folder, ignore_errors=True)  # see the top of this file
        self._finished.add(name)
        (finished / _OWNER).unlink(missing_ok=True)
        for step in finished.iterdir():  # the checkpoints, which are not needed any more
            if step.name.isdecimal():
                shutil.rmtree(step, ignore_errors=True)

    def fail(self, name: str, reason: str) -> None:
        """Notes why a group has failed, which this process holds, if that is possible."""
        with contextlib.suppress(UserError):  # the disk may be full
            workdirs.write(self.folder / WORK / name, {_FAILED: reason.encode()})

    def is_reported(self, report: str) -> bool:
        """Tells whether there is a report of all groups, and says so."""
        is_there = _read(self.folder / _REPORTED) == str(len(self.names))
        is_there &= (self.folder / report).exists()
        if is_there:
            print(f'all is done; the report is in {self.folder}', flush=True)
        return is_there

    def note_report(self, names: Sequence[str]) -> None:
        """Notes which groups the report in the folder is of."""
        workdirs.write(self.folder, {_REPORTED: str(len(names)).encode()})

    def _list(self, place: str) -> set[str]:
        found = set()
        for parent in {name.rpartition('/')[0] for name in self.names}:
            with contextlib.suppress(FileNotFoundError):
                entries = os.listdir(self.folder / place / parent)
                found |= {f'{parent}/{entry}' if parent else entry for entry in entries}
        return found & {*self.names}


def _read_json(path: pathlib.Path, form: Any) -> Any:
    try:
        return typeguard.check_type(json.loads(path.read_text()), form)
    except (OSError, ValueError, RecursionError, typeguard.TypeCheckError) as error:
        raise UserError(
            f'--workdir: {path} is damaged ({error}); restore it, or use another folder'
        ) from error


def _stat(path: pathlib.Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _read(path: pathlib.Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text()
    return ''
