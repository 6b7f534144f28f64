"""What a soak does to a workdir, and how it tells whether the run there has survived."""

import csv
import filecmp
import json
import pathlib
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np

from mnist_flax.checkpointing import checkpoints


def _is_writing(workdir: pathlib.Path) -> bool:
    return any(workdir.glob('checkpoints/*/.*.new*'))


def _is_summing(workdir: pathlib.Path) -> bool:
    return any(
        not (path / 'SHA256SUMS').exists() for path in workdir.glob('checkpoints/*/.*.new')
    )


def _is_deleting(workdir: pathlib.Path) -> bool:
    return any(workdir.glob('checkpoints/*/.*.old'))


def _is_reporting(workdir: pathlib.Path) -> bool:
    return any(workdir.glob('.model.*')) or any(workdir.glob('.*.tmp'))


def _is_training(workdir: pathlib.Path) -> bool:
    log = pathlib.Path(f'{workdir}.log').read_text()
    return '\nepoch ' in log or 'were done before' in log


# When to kill: a state of the workdir, and at most so many seconds later.
MOMENTS: dict[str, tuple[Callable[[pathlib.Path], bool], float]] = {
    'at the start': (lambda workdir: True, 4.0),
    'while training': (_is_training, 1.5),
    'while a checkpoint is written': (_is_writing, 0.05),
    'before its checksums are': (_is_summing, 0.002),
    'while an old one is deleted': (_is_deleting, 0.002),
    'while the report is written': (_is_reporting, 0.1),
}


def _checkpoints(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Lists the checkpoints of the only run, the newest first."""
    paths = workdir.glob('checkpoints/runs_0-0/*')
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def _data_file(path: pathlib.Path) -> pathlib.Path:
    return max((file for file in path.rglob('*') if file.is_file()), key=_size)


def _size(file: pathlib.Path) -> int:
    return file.stat().st_size


def _truncate(workdir: pathlib.Path, number: int = 0) -> None:
    file = _data_file(_checkpoints(workdir)[number])
    file.write_bytes(file.read_bytes()[: _size(file) // 2])


def _flip_a_bit(workdir: pathlib.Path) -> None:
    file = _data_file(_checkpoints(workdir)[0])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _delete(workdir: pathlib.Path) -> None:
    _data_file(_checkpoints(workdir)[0]).unlink()


def _delete_half(workdir: pathlib.Path) -> None:
    for file in sorted(_checkpoints(workdir)[0].rglob('*'))[::2]:
        if file.is_file() and file.name != 'SHA256SUMS':
            file.unlink()


def _delete_sums(workdir: pathlib.Path) -> None:
    (_checkpoints(workdir)[0] / 'SHA256SUMS').unlink()


def _truncate_two(workdir: pathlib.Path) -> None:
    _truncate(workdir, 1)
    _truncate(workdir, 0)


def _truncate_all(workdir: pathlib.Path) -> None:
    for number in range(len(_checkpoints(workdir))):
        _truncate(workdir, number)


def _replace_by_file(workdir: pathlib.Path) -> None:
    shutil.rmtree(workdir)
    workdir.write_text('a file')


def _forbid_writing(workdir: pathlib.Path) -> None:
    workdir.chmod(0o555)


def nothing(workdir: pathlib.Path) -> None:
    """Leaves a workdir as it is."""


DAMAGES = [  # what, how, what is said
    ('the newest checkpoint truncated', _truncate, 'is damaged'),
    ('a bit of it flipped', _flip_a_bit, 'is damaged'),
    ('a file of it deleted', _delete, 'is damaged'),
    ('half of its files deleted', _delete_half, 'is damaged'),
    ('its checksums deleted', _delete_sums, 'is damaged'),
    ('the two newest truncated', _truncate_two, 'is damaged'),
]
# Python that a process runs before it becomes the training. What comes closest to a full
# disk without one is a limit on the size of a file; JAX's cache would warn of that too.
_LIMIT_FILES = (
    'import os, resource\n'
    'resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n'
    'os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"\n'
)
# The superuser gives up the right to write where it is forbidden (PR_CAPBSET_DROP of
# CAP_DAC_OVERRIDE); others do not have it.
_OBEY_PERMISSIONS = 'import ctypes\nctypes.CDLL(None).prctl(24, 1, 0, 0, 0)\n'

REFUSALS = [  # what, how, what the process does before, flags, what is said
    ('all checkpoints truncated', _truncate_all, '', (), 'none of the checkpoints'),
    ('a disk without room', nothing, _LIMIT_FILES, (), 'cannot write the checkpoint'),
    (
        'a workdir without permission to write', _forbid_writing, _OBEY_PERMISSIONS, (),
        'cannot write to',
    ),
    ('a workdir that is a file', _replace_by_file, '', (), 'cannot write to'),
    ('other settings', nothing, '', ('--config.seed=1',), 'seed 0, here 1'),
]  # fmt: skip


def expect(process: subprocess.CompletedProcess, status: int, message: str) -> None:
    """Compares the exit status, and looks for a message and for tracebacks.

    Raises:
      AssertionError: They are not what was expected.
    """
    output = process.stdout + process.stderr
    assert process.returncode == status, f'status {process.returncode}: {output}'
    assert message in output, output
    lines = process.stderr.splitlines()
    assert all(line.startswith(('error: ', 'warning: ')) for line in lines), process.stderr
    if status:
        assert len(lines) == 1, process.stderr


def read_files(workdir: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """Reads all of a workdir but its lock."""
    paths = workdir.rglob('*') if workdir.is_dir() else [workdir]
    return {
        path.relative_to(workdir): path.read_bytes()
        for path in paths
        if path.is_file() and path.name != '.lock'
    }


def expect_same(workdir: pathlib.Path, reference: pathlib.Path) -> None:
    """Compares all that two trainings leave and that does not tell the time.

    Raises:
      AssertionError: They differ.
    """
    for name in ('history.csv', *(path.name for path in reference.glob('*.png'))):
        assert filecmp.cmp(workdir / name, reference / name, shallow=False), name
    mine, theirs = (_read_numbers(path) for path in (workdir, reference))
    assert mine == theirs, 'metrics.json or runs.csv'
    saved = ['model']
    for group in reference.glob('checkpoints/*/'):
        newest = max(int(p.name) for p in group.iterdir() if p.name.isdecimal())
        saved.append(f'checkpoints/{group.name}/{newest}')
    for name in saved:
        found, expected = (checkpoints.read(path / name) for path in (workdir, reference))
        assert found.arrays.keys() == expected.arrays.keys(), name
        for key, array in expected.arrays.items():
            assert np.array_equal(found.arrays[key], array), f'{name}: {key}'
        assert _clean(found.about) == _clean(expected.about), name


def _read_numbers(workdir: pathlib.Path) -> Any:
    files = [workdir / 'metrics.json', workdir / 'config.json']
    numbers = [_clean(json.loads(path.read_text())) for path in files]
    if (workdir / 'runs.csv').exists():
        with (workdir / 'runs.csv').open() as file:
            numbers += [_clean(row) for row in csv.DictReader(file)]
    return numbers


def _clean(tree: Any) -> Any:
    """Leaves out times, and how checkpoints are handled."""
    if not isinstance(tree, dict):
        return tree
    return {
        name: _clean(value)
        for name, value in tree.items()
        if not name.endswith('seconds') and name != 'checkpoint'
    }
