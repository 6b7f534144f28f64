"""A workdir: one process works in it, and an earlier run there is resumed or kept."""

import contextlib
import errno
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import filelock

from mnist_flax.checkpointing import checkpoints
from mnist_flax.common import addresses, configs, renamed
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.files import make_folder, sync, write_atomically

CHECKPOINTS, MODEL = 'checkpoints', 'model'

# Everything that a run can write.
_FILES = (
    CHECKPOINTS, MODEL, 'accuracy_plot.png', 'config.json', 'confusion_matrix.png',
    'figures', 'history.csv', 'metrics.json', 'metrics.jsonl', 'metrics.txt', 'runs.csv',
    'profile', 'runs.md', 'sample_predictions.png', 'sweep.png', 'tensorboard',
)  # fmt: skip

_LOCK = '.lock'

# What a drive says that has no locks, such as some network drives, FUSE and Colab's Drive.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

_held: dict[pathlib.Path, os.stat_result] = {}  # the locks of this process, by folder

# Fields that say where a run is computed, how it is saved and watched, and not what it
# computes.
_MAY_DIFFER = (
    'num_devices', 'runs_at_once', 'dataset.data_dir', 'checkpoint', 'log_every_steps',
    'metrics', 'evaluators', 'writers',
)  # fmt: skip

# What is noted beside the config, but was not by earlier versions.
_NOT_ALWAYS_NOTED = ('dataset.sha256',)

# Fields that say which runs there are and how their steps are counted.
_MUST_NOT_CHANGE = ('seed', 'runs', 'sweep', 'batch_size', 'dataset')

_ELSEWHERE = (
    'another --workdir, or --config.checkpoint.resume=false to start a new run and move '
    'the earlier one into a folder of the workdir'
)


def prepare(workdir: str, flag: str = '--workdir') -> pathlib.Path:
    """Creates the folder if need be, and checks that files can be written there.

    Args:
      workdir: The folder.
      flag: The flag that names it, for messages.

    Returns:
      Its absolute path.

    Raises:
      UserError: Files cannot be written there, or it is the address of a bucket.
    """
    addresses.require_local(workdir, flag)
    try:
        path = pathlib.Path(workdir).expanduser().absolute()
        make_folder(path)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, RuntimeError, ValueError) as error:  # no such user; a zero in it
        raise _not_writable(flag, workdir, error) from error
    return path


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from working in the folder, as long as this one lives.

    Where the drive has no locks, it only warns.

    Raises:
      UserError: Another process is working there, or no file can be made there.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Not through a link, which in a folder from elsewhere can lead anywhere;
            # filelock takes care of that.
            stack.enter_context(filelock.FileLock(folder / _LOCK, timeout=0, mode=0o666))
            _held[folder] = (folder / _LOCK).stat()
        except filelock.Timeout as error:
            raise UserError(
                f'--workdir: another process is working in {folder}; wait until it has '
                'ended, or use another folder'
            ) from error
        except (OSError, NotImplementedError) as error:
            if getattr(error, 'errno', errno.ENOSYS) not in _NO_LOCKS:
                raise _not_writable('--workdir', f'{folder}/{_LOCK}', error) from error
            print(
                f'warning: --workdir: files cannot be locked in {folder}; make sure that '
                'no other process works there',
                file=sys.stderr,
                flush=True,
            )
        stack.callback(_held.pop, folder, None)
        yield


def check_lock(folder: pathlib.Path) -> None:
    """Checks that a folder is still the one that this process has locked, if it has.

    Raises:
      UserError: It was removed, and perhaps made anew by another process.
    """
    if folder not in _held:
        return
    try:
        is_ours = os.path.samestat(_held[folder], (folder / _LOCK).stat())
    except OSError:
        is_ours = False
    require(
        is_ours,
        f'--workdir: {folder} was removed or replaced while this process was working in '
        'it; it writes no more, since another process may be working there now',
    )


def write(
    folder: pathlib.Path, files: Mapping[str, bytes], flag: str = '--workdir'
) -> None:
    """Writes files into the folder; none appears before all are complete.

    Args:
      folder: The folder.
      files: Contents by name.
      flag: The flag that names the folder, for messages.

    Raises:
      UserError: A file cannot be written, or the folder is no longer the one that was
        locked.
    """
    check_lock(folder)
    try:
        contents = {folder / name: content for name, content in files.items()}
        write_atomically(contents, alone=folder in _held)
    except OSError as error:
        raise _not_writable(flag, str(folder), error) from error


def start(folder: pathlib.Path, config: dict[str, Any], resume: bool) -> None:
    """Makes sure that an earlier run in a workdir is not lost when a run starts there.

    Args:
      folder: The workdir.
      config: The settings, as plain values.
      resume: Whether to resume the run that is there; otherwise it is moved aside.

    Raises:
      UserError: The report there is of other settings, and there are no checkpoints.
    """
    report = folder / 'config.json'
    if not resume:
        _move_aside(folder)
    elif report.exists() and not any(
        map(checkpoints.exist, folder.glob(f'{CHECKPOINTS}/runs_*'))
    ):
        try:
            theirs = json.loads(report.read_text())
        except (OSError, ValueError):
            return  # not written by this program
        differing = find_differences(config, theirs)
        require(
            not differing,
            f'--workdir: {folder} holds the report of a run with other settings '
            f'({_list(differing)}); use the same settings, or {_ELSEWHERE}',
        )


def find_changes(
    checkpoint: pathlib.Path,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    allow_changes: bool,
    why_length_is_fixed: Callable[[], str],
) -> list[str]:
    """Finds the settings that change when a run is resumed.

    Args:
      checkpoint: Where it is resumed from.
      ours: The settings, as plain values.
      theirs: Those of the checkpoint.
      allow_changes: Whether the user allows changes.
      why_length_is_fixed: Says why the number of epochs must not change; nothing if it may.

    Returns:
      The changes; they are allowed.

    Raises:
      UserError: The settings differ, and the user does not allow that or it would make
        this another run.
    """
    differing = find_differences(ours, theirs)
    reason = why_length_is_fixed() if 'num_epochs' in differing else ''
    if not reason:
        differing.pop('num_epochs', None)
    fixed = [name for name in differing if name.split('.')[0] in _MUST_NOT_CHANGE]
    if allow_changes:
        require(
            not fixed,
            f'config.checkpoint.allow_changes: {checkpoint} has other values of '
            f'{", ".join(fixed)}, which must stay the same; or use {_ELSEWHERE}',
        )
        return [
            f'{name} from {_show(old)} to {_show(new)}'
            for name, (new, old) in differing.items()
        ]
    why = f': {reason}' if [*differing] == ['num_epochs'] else ''
    or_change = ', or --config.checkpoint.allow_changes=true to resume it with the new ones'
    require(
        not differing,
        f'--workdir: {checkpoint} is of a run with other settings '
        f'({_list(differing)}{why}); use the same settings, {_ELSEWHERE}'
        f'{"" if fixed else or_change}',
    )
    return []


def find_differences(ours: Any, theirs: Any) -> dict[str, tuple[Any, Any]]:
    """Finds the fields in which two configs describe different runs.

    Args:
      ours: The settings, as plain values.
      theirs: Those of an earlier run, perhaps by an earlier version: it lacks the fields
        that were added since, whose values then are those of ``configs/default.py``.

    Returns:
      Our value and theirs, by field.
    """
    upgraded = renamed.upgrade_config(theirs) if isinstance(theirs, dict) else theirs
    return _compare(ours, upgraded, configs.load_default(), '')


def _compare(ours, theirs, default, path):
    if path in _MAY_DIFFER or ours == theirs:
        return {}
    if path in _NOT_ALWAYS_NOTED and theirs is None:
        return {}
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return {path: (ours, theirs)}
    default = default if isinstance(default, dict) else {}
    if ours.get('constructor') != default.get('constructor'):
        default = {}  # the fields are those of another function
    differing: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*ours, *theirs}):
        old = theirs.get(key, default.get(key))
        below = f'{path}.{key}' if path else key
        differing |= _compare(ours.get(key), old, default.get(key), below)
    return differing


def _list(differing: dict[str, tuple[Any, Any]]) -> str:
    return ', '.join(
        f'{name} {_show(old)}, here {_show(new)}' for name, (new, old) in differing.items()
    )


def _show(value: Any) -> str:
    """Writes a value; that of an argument which one of the configs leaves out is None."""
    return 'unset' if value is None else str(value)


def _move_aside(folder: pathlib.Path) -> None:
    found = [folder / name for name in _FILES if (folder / name).exists()]
    if not found:
        return
    number = 1
    while (folder / f'earlier_{number}').exists():
        number += 1
    aside = folder / f'earlier_{number}'
    try:
        aside.mkdir()
        for path in found:
            path.rename(aside / path.name)
        sync(aside)
        sync(folder)
    except OSError as error:
        raise _not_writable('--workdir', str(folder), error) from error
    print(f'the earlier run was moved to {aside}', flush=True)


def _not_writable(flag: str, folder: str, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(
        f'{flag}: cannot write to {folder!r} ({reason}); use a folder where files can be '
        'created'
    )
