"""Orbax checkpoints with checksums: saved in the background, the newest intact one read."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import stat
import sys
from collections.abc import Mapping
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np

from mnist_flax.common import files
from mnist_flax.common.errors import UserError, require

# In the format of `sha256sum`.
_SUMS = 'SHA256SUMS'

# Most that is read into memory: a few bytes of compressed zeros can stand for terabytes.
_MOST_BYTES = 8 * 2**30


@dataclasses.dataclass(frozen=True)
class Options:
    """The fields of ``config.checkpoint``."""

    every: int  # epochs
    keep: int  # checkpoints of each group of runs
    resume: bool
    allow_changes: bool

    def __post_init__(self) -> None:
        require(
            self.every >= 0,
            f'config.checkpoint.every: found {self.every}; allowed: 0 or more epochs',
        )
        require(
            self.keep >= 2,
            f'config.checkpoint.keep: found {self.keep}; allowed: 2 or more, in case one '
            'is damaged',
        )


class Checkpoint(NamedTuple):
    """The contents of a checkpoint: arrays and plain values, by name."""

    path: pathlib.Path
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


class CheckpointManager:
    """Saves checkpoints in a folder, each named by its step, and keeps the last ones."""

    def __init__(self, folder: pathlib.Path, keep: int):
        self._folder = folder
        self._keep = keep
        # One thread, so that checkpoints are complete in order.
        self._thread = futures.ThreadPoolExecutor(max_workers=1)
        self._saving: futures.Future[None] | None = None

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
    ) -> pathlib.Path:
        """Starts to write a checkpoint, when the one before is complete.

        Args:
          step: Steps done; more than in any checkpoint of the folder.
          arrays: By name; they must not change until the checkpoint is written.
          about: Plain values by name; they must not change either.

        Returns:
          The folder of the checkpoint.

        Raises:
          UserError: The one before cannot be written.
        """
        self.wait()
        path = self._folder / str(step)
        self._saving = self._thread.submit(self._save, path, arrays, about)
        return path

    def wait(self) -> None:
        """Waits until the last checkpoint is written.

        Raises:
          UserError: It cannot be written.
        """
        if self._saving is not None:
            self._saving.result()

    def close(self) -> None:
        """Waits as `wait` does, and ends the thread."""
        with self._thread:
            self.wait()

    def _save(self, path, arrays, about):
        write(path, arrays, about)
        for step in _list_steps(self._folder)[self._keep :]:
            old = self._folder / str(step)
            # Renamed first, since a half deleted checkpoint would look damaged.
            shutil.rmtree(old.rename(_beside(old, 'old')), ignore_errors=True)


def write(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes a checkpoint, which appears under its name when it is complete.

    A checkpoint of that name is replaced. When it returns, the new one is on the disk.

    Args:
      path: Its folder.
      arrays: By name.
      about: Plain values by name.

    Raises:
      UserError: It cannot be written; what was there before is intact.
    """
    # Imported here, as in `read`, so that training need not wait for Orbax.
    from mnist_flax.checkpointing import orbax_files

    new, old = _beside(path, 'new'), _beside(path, 'old')
    try:
        files.make_folder(path.parent)
        if old.exists() and not path.exists():
            old.rename(path)  # a process was killed between the two renames below
        # What killed processes have left, also under Orbax's own names.
        for left in (*path.parent.glob('.*.new*'), *path.parent.glob('.*.old')):
            shutil.rmtree(left)
        # Checked first, since Orbax's threads do not stop when a disk is full: some create
        # files in a folder that has been removed, and some print tracebacks.
        files.check_disk_space(path.parent, sum(array.nbytes for array in arrays.values()))
        orbax_files.save(new, arrays, about)
        lines = [f'{_digest(new / name)}  {name}\n' for name in _list_files(new)]
        (new / _SUMS).write_bytes(''.join(lines).encode())
        files.sync_tree(new)
        if path.exists():
            path.rename(old)
        new.rename(path)
        files.sync(path.parent)  # before the old one is removed
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:  # Orbax and TensorStore raise many types
        with contextlib.suppress(OSError):
            if old.exists() and not path.exists():
                old.rename(path)
        # They take room that a full disk does not have.
        for left in path.parent.glob(f'.{path.name}.new*'):
            shutil.rmtree(left, ignore_errors=True)
        raise UserError(
            f'--workdir: cannot write the checkpoint {path} ({_reason(error)}); use a '
            'folder where files can be created, on a disk with enough room; what was there '
            'before is intact'
        ) from error


def exist(folder: pathlib.Path) -> bool:
    """Tells whether a folder has a checkpoint, intact or not."""
    return bool(_list_steps(folder))


def newest_step(folder: pathlib.Path) -> int:
    """Returns the step of a folder's newest checkpoint, intact or not; 0 without any."""
    return max(_list_steps(folder), default=0)


def restore(folder: pathlib.Path) -> Checkpoint | None:
    """Reads the newest intact checkpoint of a folder, and renames damaged newer ones.

    Args:
      folder: The folder of a `CheckpointManager`; it need not exist.

    Returns:
      The checkpoint; None if there is none.

    Raises:
      UserError: All are damaged; they are not renamed.
    """
    damaged = {}
    for step in _list_steps(folder):
        path = folder / str(step)
        try:
            checkpoint = read(path)
        except UserError as error:
            damaged[path] = str(error)
            continue
        for newer, reason in damaged.items():
            _rename_damaged(newer, reason)
        return checkpoint
    require(
        not damaged,
        f'--workdir: all checkpoints in {folder} are damaged '
        f'({"; ".join(damaged.values())}); restore one from a copy, or move '
        'that folder away to train its runs anew',
    )
    return None


def read(path: pathlib.Path) -> Checkpoint:
    """Reads a checkpoint from its folder, after comparing all files with their checksums.

    Nothing in it is executed, so that one from an unknown source is safe to read.

    Raises:
      UserError: There is none, it is damaged, or it is larger than any of this program.
    """
    from mnist_flax.checkpointing import orbax_files

    _verify(path)
    try:
        size = orbax_files.count_bytes(path)
        if size > _MOST_BYTES:
            raise ValueError(f'arrays of {size:,} bytes')
        return Checkpoint(path, *orbax_files.load(path))
    except Exception as error:
        raise UserError(f'checkpoint {path} cannot be read ({_reason(error)})') from error


def digest(arrays: Mapping[str, Any]) -> str:
    """Returns the first 12 digits of the SHA-256 of arrays and their names."""
    checked = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        checked.update(f'{name} {array.dtype} {array.shape} '.encode())
        checked.update(np.asarray(array).tobytes())
    return checked.hexdigest()[:12]


def _verify(path: pathlib.Path) -> None:
    # Before Orbax reads the files: TensorStore's threads print tracebacks when a checkpoint
    # is damaged, and do not notice flipped bits in some files.
    try:
        # Before any is opened: reading a pipe would wait for ever.
        size = _count_bytes(path)
        names = _list_files(path)
        if not (path / _SUMS).is_file():
            raise ValueError(f'no file {_SUMS}')
        if size > _MOST_BYTES:
            raise ValueError(f'files of {size:,} bytes')
        lines = (path / _SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
        found = {name: _digest(path / name) for name in names}
    except (OSError, ValueError) as error:
        raise UserError(f'checkpoint {path} is damaged ({_reason(error)})') from error
    for name in sorted({*sums, *found}):
        require(name in found, f'checkpoint {path} is damaged (no file {name})')
        require(
            sums.get(name) == found[name],
            f'checkpoint {path} is damaged (the SHA-256 of {name} starts with '
            f'{found[name]:.8}, not with {sums.get(name, "nothing"):.8})',
        )


def _rename_damaged(path: pathlib.Path, reason: str) -> None:
    renamed = path.with_name(f'{path.name}.damaged')
    try:
        shutil.rmtree(renamed, ignore_errors=True)
        path.rename(renamed)
    except OSError as error:
        raise UserError(f'{reason}, and cannot be renamed ({_reason(error)})') from error
    print(
        f'warning: {reason}; it was renamed to {renamed.name}, and the one before is used',
        file=sys.stderr,
        flush=True,
    )


def _beside(path: pathlib.Path, suffix: str) -> pathlib.Path:
    return path.with_name(f'.{path.name}.{suffix}')


def _list_steps(folder: pathlib.Path) -> list[int]:
    """Lists the steps of the checkpoints in a folder, the newest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    steps = [int(name) for name in names if re.fullmatch('0|[1-9][0-9]*', name)]
    return sorted(steps, reverse=True)


def _list_files(path: pathlib.Path) -> list[str]:
    # Without the hidden files that a file browser or a network drive adds.
    found = (file for file in path.rglob('*') if file.is_file() and file.name[0] != '.')
    names = (file.relative_to(path).as_posix() for file in found)
    return sorted(name for name in names if name != _SUMS)


def _count_bytes(path: pathlib.Path) -> int:
    """Adds up the sizes of all files, hidden ones too.

    Raises:
      ValueError: There is something else than files and folders, such as a link.
    """
    size = 0
    for entry in path.rglob('*'):
        try:
            status = entry.lstat()
        except FileNotFoundError:  # a network drive's own, which come and go
            continue
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            raise ValueError(f'{entry.relative_to(path)} is neither a file nor a folder')
    return size


def _digest(path: pathlib.Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _reason(error: Exception) -> str:
    # TensorStore's messages have the system's reason after several lines of source paths.
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split('\n')[0][:200] or type(error).__name__
