"""A workdir: one process works in it, and an earlier run there is continued or kept."""

import contextlib
import fcntl
import json
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from mnist_flax import tables
from mnist_flax.checks import UserError, require
from mnist_flax.files import write_atomically
from mnist_flax.settings import Plan, to_tree

CHECKPOINTS, MODEL = 'checkpoints', 'model'

# All that a run can leave.
_FILES = (
    CHECKPOINTS, MODEL, 'accuracy_plot.png', 'config.json', 'confusion_matrix.png',
    'history.csv', 'metrics.json', 'metrics.txt', 'runs.csv', 'runs.md',
    'sample_predictions.png',
)  # fmt: skip

# What says where and how a run is computed and kept, not what it is.
_MAY_DIFFER = ('num_devices', 'runs_at_once', 'dataset.data_dir', 'checkpoint')

# What says which runs there are and how their steps are counted.
_MUST_NOT_CHANGE = ('seed', 'runs', 'sweep', 'batch_size', 'dataset')


def prepare(workdir: str) -> pathlib.Path:
    """Makes the folder and sees that files can be written to it.

    Raises:
      UserError: They cannot.
    """
    path = pathlib.Path(workdir).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _not_writable(workdir, error) from error
    return path


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from working in the folder; the system frees it with this one.

    Raises:
      UserError: Another process is at work there.
    """
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f'--workdir: another process is at work in {folder}; allowed: another '
                'folder, or to wait until it has ended'
            ) from error
        yield


def write(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
    """Writes files by name into the folder; none appears before all are complete.

    Raises:
      UserError: A file cannot be written.
    """
    try:
        write_atomically({folder / name: content for name, content in files.items()})
    except OSError as error:
        raise _not_writable(str(folder), error) from error


def begin(folder: pathlib.Path, config: ml_collections.ConfigDict, plan: Plan) -> None:
    """Sees whether the earlier run in a workdir, if there is one, can be gone on with.

    Args:
      folder: The workdir.
      config: The settings.
      plan: The runs that they ask for.

    Raises:
      UserError: The earlier run has other settings.
    """
    if not plan.checkpoint.resume:
        _put_aside(folder)
    path = folder / CHECKPOINTS / 'config.json'
    ours = to_tree(config)
    if path.exists():
        try:
            theirs = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f'--workdir: cannot read {path} ({error}); allowed: the settings of the '
                'checkpoints beside it, or --config.checkpoint.resume=false to start '
                'afresh, which keeps them'
            ) from error
        _check_same(folder, ours, theirs, plan)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise _not_writable(str(folder), error) from error
    write(path.parent, {path.name: tables.to_json(ours).encode()})


def find_differences(ours: Any, theirs: Any, path: str = '') -> dict[str, tuple[Any, Any]]:
    """Finds where two configs would give different runs.

    Args:
      ours: A tree of plain values.
      theirs: Another.
      path: Where they belong in a larger one.

    Returns:
      Our value and theirs, by field.
    """
    if path in _MAY_DIFFER or ours == theirs:
        return {}
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return {path: (ours, theirs)}
    return {
        field: values
        for key in sorted({*ours, *theirs})
        for field, values in find_differences(
            ours.get(key), theirs.get(key), f'{path}.{key}' if path else key
        ).items()
    }


def _check_same(folder: pathlib.Path, ours: Any, theirs: Any, plan: Plan) -> None:
    differing = find_differences(ours, theirs)
    if not plan.recipe.optimizer.depends_on_length:
        differing.pop('num_epochs', None)
    listed = ', '.join(
        f'{name} {value[1]}, here {value[0]}' for name, value in differing.items()
    )
    hint = (
        'another --workdir, or --config.checkpoint.resume=false to start afresh, which '
        'keeps that run in a folder beside'
    )
    if plan.checkpoint.allow_changes:
        fixed = [name for name in differing if name.split('.')[0] in _MUST_NOT_CHANGE]
        require(
            not fixed,
            f'config.checkpoint.allow_changes: found other values of {", ".join(fixed)} in '
            f'{folder}; allowed: the same, or {hint}',
        )
        return
    if [*differing] == ['num_epochs']:
        optimizer = plan.settings.optimizer
        listed += (
            f': its learning rate (schedule {optimizer.schedule!r}, warmup '
            f'{optimizer.warmup}) depends on the length, and that of a longer run would '
            'have been another from the start'
        )
    require(
        not differing,
        f'--workdir: found in {folder} a run with other settings ({listed}); allowed: the '
        f'same, {hint}, or --config.checkpoint.allow_changes=true to go on from it with '
        'the new ones',
    )


def _put_aside(folder: pathlib.Path) -> None:
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
    except OSError as error:
        raise _not_writable(str(folder), error) from error
    print(f'the earlier run was moved to {aside}', flush=True)


def _not_writable(workdir: str, error: OSError) -> UserError:
    return UserError(
        f'--workdir: cannot write to {workdir!r} ({error.strerror}); allowed: a folder '
        'where files can be made'
    )
