"""Orbax checkpoints with checksums: saved in the background, the newest sound read."""

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Mapping
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from mnist_flax.checks import UserError, require
from mnist_flax.files import write_atomically

# In the form of `sha256sum`. The last file to be written: a folder without it is not whole.
_SUMS = 'SHA256SUMS'

# Of several hosts the first one works on files; the others have nothing to wait for.
_FIRST_HOST = ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix='mnist_flax'
)


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
            f'config.checkpoint.keep: found {self.keep}; allowed: 2 or more, so that one '
            'may be damaged',
        )


class Checkpoint(NamedTuple):
    """What was saved: arrays and plain values, by name."""

    path: pathlib.Path
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


class Series:
    """Saves checkpoints into a folder, of which it keeps the last ones."""

    def __init__(self, folder: pathlib.Path, keep: int):
        self._folder = folder
        # A thread of our own rather than Orbax's, since the checksums come after its files.
        self._thread = futures.ThreadPoolExecutor(max_workers=1)
        self._saving: futures.Future[None] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                folder.absolute(),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep,
                    create=False,
                    cleanup_tmp_directories=True,
                    enable_async_checkpointing=False,
                    multiprocessing_options=_FIRST_HOST,
                ),
            )
        except Exception as error:  # Orbax and TensorStore have many types
            raise _not_written(folder, error) from error

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
    ) -> pathlib.Path:
        """Begins to write a checkpoint, after waiting for the one before.

        Args:
          step: Steps done; more than in any checkpoint of the folder.
          arrays: By name; they must not change until it is written.
          about: Plain values by name.

        Returns:
          The folder of the checkpoint.

        Raises:
          UserError: The one before cannot be written.
        """
        self.wait()
        self._saving = self._thread.submit(self._save, step, arrays, about)
        return self._folder / str(step)

    def wait(self) -> None:
        """Waits until the last checkpoint is written.

        Raises:
          UserError: It cannot be written.
        """
        if self._saving is not None:
            self._saving.result()

    def close(self) -> None:
        """Waits likewise, and ends the thread."""
        with self._thread:
            self.wait()
        self._manager.close()

    def _save(self, step, arrays, about):
        path = self._folder / str(step)
        try:
            self._manager.save(step, args=_to_save(arrays, about))
            _write_sums(path)
        except Exception as error:
            raise _not_written(path, error) from error


def write(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes one checkpoint, in place of the one that is there.

    Args:
      path: Its folder.
      arrays: By name.
      about: Plain values by name.

    Raises:
      UserError: It cannot be written.
    """
    new, old = (path.with_name(f'.{path.name}.{suffix}') for suffix in ('new', 'old'))
    try:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        with _open() as checkpointer:
            checkpointer.save(new, args=_to_save(arrays, about))
        _write_sums(new)
        if path.exists():
            path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:
        raise _not_written(path, error) from error


def restore(folder: pathlib.Path) -> Checkpoint | None:
    """Reads the newest sound checkpoint of a folder, and puts unsound newer ones aside.

    Args:
      folder: Where a `Series` was saved; it need not exist.

    Returns:
      The checkpoint; None if there is none.

    Raises:
      UserError: All are damaged; they are left as they are.
    """
    newest_first = sorted(_list_steps(folder), reverse=True)
    damaged: dict[pathlib.Path, str] = {}
    checkpoint = None
    for step in newest_first:
        path = folder / str(step)
        if step == newest_first[0] and not (path / _SUMS).exists():
            # Its process was killed between Orbax's last file and ours. Only of the newest
            # can that be the reason.
            damaged[path] = ''
            continue
        try:
            checkpoint = read(path)
            break
        except UserError as error:
            damaged[path] = str(error)
    reasons = list(filter(None, damaged.values()))
    require(
        checkpoint is not None or not reasons,
        f'--workdir: none of the checkpoints in {folder} is sound ({"; ".join(reasons)}); '
        'allowed: a copy of them that is, or --config.checkpoint.resume=false to start '
        'afresh, which keeps them',
    )
    for path, reason in damaged.items():
        if not reason:
            shutil.rmtree(path)
            continue
        aside = path.with_name(f'{path.name}.damaged')
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        print(
            f'warning: {reason}; renamed to {aside.name}, and the one before is used',
            file=sys.stderr,
            flush=True,
        )
    return checkpoint


def read(path: pathlib.Path) -> Checkpoint:
    """Reads a checkpoint from its folder, after comparing all files with their checksums.

    Nothing in it is executed, so that a stranger's is safe to read.

    Raises:
      UserError: There is none, or it is damaged.
    """
    _verify(path)
    try:
        with _open() as checkpointer:
            items = checkpointer.restore(
                path.absolute(),
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
                ),
            )
        return Checkpoint(path, dict(items.arrays), items.about)
    except Exception as error:
        raise UserError(f'checkpoint {path} cannot be read ({_reason(error)})') from error


def _open() -> ocp.Checkpointer:
    options = ocp.CompositeOptions(multiprocessing_options=_FIRST_HOST)
    handler = ocp.CompositeCheckpointHandler(composite_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=_FIRST_HOST)


def _to_save(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Any:
    return ocp.args.Composite(
        arrays=ocp.args.StandardSave(dict(arrays)), about=ocp.args.JsonSave(dict(about))
    )


def _write_sums(path: pathlib.Path) -> None:
    lines = [f'{_digest(path / name)}  {name}\n' for name in _list_files(path)]
    write_atomically({path / _SUMS: ''.join(lines).encode()})


def _verify(path: pathlib.Path) -> None:
    # Before Orbax sees the files: of a damaged checkpoint TensorStore's threads print
    # tracebacks, and flipped bits of some files go unnoticed.
    try:
        lines = (path / _SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
        found = {name: _digest(path / name) for name in _list_files(path)}
    except (OSError, ValueError) as error:
        raise UserError(f'checkpoint {path} is damaged ({_reason(error)})') from error
    for name in sorted({*sums, *found}):
        require(name in found, f'checkpoint {path} is damaged (no file {name})')
        require(
            sums.get(name) == found[name],
            f'checkpoint {path} is damaged (found {name} with sha256 {found[name]:.8}..., '
            f'allowed: {sums.get(name, "none"):.8}...)',
        )


def _list_steps(folder: pathlib.Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [
        int(path.name)
        for path in folder.iterdir()
        if path.name.isdecimal() and path.is_dir()
    ]


def _list_files(path: pathlib.Path) -> list[str]:
    files = (file for file in path.rglob('*') if file.is_file() and file.name != _SUMS)
    return sorted(file.relative_to(path).as_posix() for file in files)


def _not_written(path: pathlib.Path, error: Exception) -> UserError:
    return UserError(
        f'--workdir: cannot write the checkpoint {path} ({_reason(error)}); allowed: a '
        'disk with room where files can be made; earlier checkpoints are whole'
    )


def _digest(path: pathlib.Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _reason(error: Exception) -> str:
    # TensorStore puts the system's reason behind several lines of its own paths.
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    return str(error).strip().split('\n')[0][:200] or type(error).__name__
