"""An earlier run in a workdir, which is resumed, refused or moved aside."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from mnist_flax.checkpointing import checkpoints
from mnist_flax.checkpointing.workdirs import CHECKPOINTS, MODEL, not_writable, show
from mnist_flax.common import configs, renamed
from mnist_flax.common.errors import require
from mnist_flax.common.files import sync

SHARED = 'shared.json'  # what workers that share a workdir have agreed on

# Everything that a run can write.
_FILES = (
    CHECKPOINTS, MODEL, 'accuracy_plot.png', 'config.json', 'confusion_matrix.png',
    'figures', 'history.csv', 'metrics.json', 'metrics.jsonl', 'metrics.txt', 'runs.csv',
    'profile', 'runs.md', 'sample_predictions.png', 'sweep.png', 'tensorboard',
)  # fmt: skip

# Fields that say where a run is computed, how it is saved and watched, and not what it
# computes.
_MAY_DIFFER = (
    'num_devices', 'runs_at_once', 'dataset.data_dir', 'checkpoint', 'log_every_steps',
    'metrics', 'evaluators', 'writers',
)  # fmt: skip

# What is noted beside the config, but was not by earlier versions.
_NOT_ALWAYS_NOTED = ('dataset.sha256', 'dataset.extra_sha256', 'source')

# Fields that say which runs there are and how their steps are counted.
_MUST_NOT_CHANGE = ('seed', 'runs', 'sweep', 'batch_size', 'dataset')

_ELSEWHERE = (
    'another --workdir, or --config.checkpoint.resume=false to start a new run and move '
    'the earlier one into a folder of the workdir'
)


def list_files(folder: pathlib.Path) -> list[str]:
    """Lists what a run or an ablation of a single process has written into a workdir."""
    return [name for name in (*_FILES, 'results.csv') if (folder / name).exists()]


def require_unshared(folder: pathlib.Path) -> None:
    """Checks that no workers share a workdir, which one process wants for itself.

    Raises:
      UserError: They do.
    """
    require(
        not (folder / SHARED).exists(),
        f'--workdir: workers share {folder}; add --worker and --num_workers, --gather for '
        'the report, or use another --workdir',
    )


def start(folder: pathlib.Path, config: dict[str, Any], resume: bool) -> None:
    """Makes sure that an earlier run in a workdir is not lost when a run starts there.

    Args:
      folder: The workdir.
      config: The settings, as plain values.
      resume: Whether to resume the run that is there; otherwise it is moved aside.

    Raises:
      UserError: The report there is of other settings, and there are no checkpoints.
    """
    require_unshared(folder)
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
        raise not_writable('--workdir', str(folder), error) from error
    print(f'the earlier run was moved to {show(aside)}', flush=True)
