"""Making a workdir that workers share, joining those who have, and finding it again."""

import contextlib
import json
import pathlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from mnist_flax.checkpointing import earlier_runs, workdirs
from mnist_flax.cluster.shared_workdirs import FINISHED, WORK, SharedWorkdir
from mnist_flax.common import addresses, files
from mnist_flax.common.errors import UserError, require

_SECONDS_TO_WAIT = 600.0  # for another process that starts, or writes the report

# What makes runs differ in what they report, beside what makes them other runs.
_EXACTLY = ('runs_at_once', 'evaluators', 'metrics', 'log_every_steps')


def join(workdir: str, settings: dict[str, Any], names: Sequence[str]) -> SharedWorkdir:
    """Opens a workdir to train in, and makes it if this process is the first one.

    Args:
      workdir: The folder.
      settings: Configs by name, and others, as they come from a JSON file.
      names: The groups as this process would divide the runs; those of the first one hold.

    Raises:
      UserError: Files cannot be made there, or it has runs of other settings, or of a
        single process.
    """
    folder = workdirs.prepare(workdir)
    if not (folder / earlier_runs.SHARED).exists():
        _require_no_run(folder)  # for which nobody need wait
        with lock(folder):
            _create(folder, settings, names)
    shared = SharedWorkdir(folder)
    require_same(shared, settings)
    return shared


def require_same(shared: SharedWorkdir, settings: dict[str, Any]) -> None:
    """Checks that this process has the settings of the others.

    Raises:
      UserError: It has others.
    """
    differing = [
        field
        for name in dict.fromkeys([*settings, *shared.settings])
        for field in _find_differences(settings.get(name), shared.settings.get(name), name)
    ]
    require(
        not differing,
        f'--workdir: workers share {shared.folder} with other settings '
        f'({", ".join(differing)}; see {earlier_runs.SHARED} there); use the same '
        'command, or another folder',
    )


def find(workdir: str) -> SharedWorkdir:
    """Opens a workdir that workers share; nothing is written there.

    Raises:
      UserError: There is none, or it is damaged.
    """
    addresses.require_local(workdir, '--workdir')
    try:
        return SharedWorkdir(pathlib.Path(workdir).expanduser().absolute())
    except RuntimeError as error:  # no such user
        raise UserError(f'--workdir: found {workdir!r} ({error})') from error


def remove_unused(folder: pathlib.Path) -> None:
    """Removes what `join` has made, unless groups were begun."""
    with contextlib.suppress(OSError):
        for place in (WORK, FINISHED):
            (folder / place).rmdir()
        (folder / earlier_runs.SHARED).unlink()


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
    """Locks a whole shared workdir, to make it or to write its report."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(workdirs.lock(folder, is_shared=True))
        except workdirs.BusyError:
            print(f'waiting for another process in {folder}', flush=True)
            stack.enter_context(workdirs.lock(folder, _SECONDS_TO_WAIT, is_shared=True))
        yield


def _create(folder: pathlib.Path, settings: dict[str, Any], names: Sequence[str]) -> None:
    if (folder / earlier_runs.SHARED).exists():  # another process was the first one
        return
    _require_no_run(folder)
    require(
        not any(
            path.is_dir() and any(path.iterdir())
            for path in (folder / FINISHED, folder / WORK)
        ),
        f'--workdir: {folder} holds groups of workers, and no {earlier_runs.SHARED} that '
        'says of which settings; restore it, or use another folder',
    )
    for place in (WORK, FINISHED):
        files.make_folder(folder / place)
    content = {'id': uuid.uuid4().hex, 'settings': settings, 'groups': [*names]}
    workdirs.write(folder, {earlier_runs.SHARED: json.dumps(content).encode()})


def _require_no_run(folder: pathlib.Path) -> None:
    found = earlier_runs.list_files(folder)
    require(
        not found,
        f'--workdir: {folder} holds a run of a single process ({", ".join(found)}); '
        'workers need a folder of their own, so use another one',
    )


def _find_differences(ours: Any, theirs: Any, name: str) -> list[str]:
    """Lists the fields of a config in which workers must not differ, but do."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return [name] if ours != theirs else []
    differing = {*earlier_runs.find_differences(ours, theirs)}
    differing |= {field for field in _EXACTLY if ours.get(field) != theirs.get(field)}
    return [f'{name}.{field}' for field in sorted(differing)]
