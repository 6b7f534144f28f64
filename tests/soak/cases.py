"""What a soak does to a workdir, and how it compares the run there with another one."""

import filecmp
import json
import os
import pathlib
import subprocess
from typing import Any

import numpy as np

from mnist_flax.checkpointing import checkpoints


def _is_training(workdir: pathlib.Path) -> bool:
    log = pathlib.Path(f'{workdir}.log').read_text()
    return '\nepoch ' in log or 'were done before' in log


def _lacks_checksums(workdir: pathlib.Path) -> bool:
    new = workdir.glob('checkpoints/*/.*.new')
    return any(not (path / 'SHA256SUMS').exists() for path in new)


# When to kill: what to wait for in the workdir, and at most how many seconds longer.
MOMENTS = {
    'at the start': (lambda workdir: True, 4.0),
    'while training': (_is_training, 1.5),
    'while a checkpoint is written': (
        lambda workdir: any(workdir.glob('checkpoints/*/.*.new*')), 0.05,
    ),
    'before the checksums of a checkpoint are written': (_lacks_checksums, 0.002),
    'while an old checkpoint is deleted': (
        lambda workdir: any(workdir.glob('checkpoints/*/.*.old')), 0.002,
    ),
    'while the report is written': (
        lambda workdir: any([*workdir.glob('.model.*'), *workdir.glob('.*.tmp')]), 0.1,
    ),
}  # fmt: skip


def _checkpoints(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Lists the checkpoints of the only run, the newest first."""
    paths = workdir.glob('checkpoints/runs_0-0/*')
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def _largest_file(path: pathlib.Path) -> pathlib.Path:
    files = (file for file in path.rglob('*') if file.is_file())
    return max(files, key=lambda file: file.stat().st_size)


def _truncate(workdir: pathlib.Path, number: int | None = 1) -> None:
    for path in _checkpoints(workdir)[:number]:
        os.truncate(_largest_file(path), _largest_file(path).stat().st_size // 2)


def _flip_a_bit(workdir: pathlib.Path) -> None:
    file = _largest_file(_checkpoints(workdir)[0])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    'the newest checkpoint truncated': _truncate,
    'a bit of it flipped': _flip_a_bit,
    'a file of it deleted': lambda path: _largest_file(_checkpoints(path)[0]).unlink(),
    'the two newest truncated': lambda workdir: _truncate(workdir, 2),
}

# Commands that run another one. A limit on the size of a file comes closest to a full disk;
# JAX's cache would warn of it too.
_LIMIT_FILES = (
    'sh', '-c', 'ulimit -f 8; export JAX_ENABLE_COMPILATION_CACHE=false; exec "$0" "$@"',
)  # fmt: skip
# The superuser may write everywhere without it, other users not.
_OBEY_PERMISSIONS = () if os.geteuid() else ('setpriv', '--bounding-set=-dac_override')

REFUSALS = [  # what, how, under which command, what is said
    ('all checkpoints truncated', lambda path: _truncate(path, None), (), 'are damaged'),
    ('a disk without room', lambda path: None, _LIMIT_FILES, 'cannot write the checkpoint'),
    (
        'a workdir without permission to write', lambda workdir: workdir.chmod(0o555),
        _OBEY_PERMISSIONS, 'cannot write to',
    ),
]  # fmt: skip


def expect(process: subprocess.CompletedProcess, status: int, message: str) -> None:
    """Compares the exit status, and looks for a message and for tracebacks."""
    output = process.stdout + process.stderr
    assert process.returncode == status, f'status {process.returncode}: {output}'
    assert message in output, output
    lines = process.stderr.splitlines()
    assert all(line.startswith(('error: ', 'warning: ')) for line in lines), process.stderr
    assert not status or len(lines) == 1, process.stderr


def read_files(workdir: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """Reads all files of a workdir but its lock."""
    return {
        path.relative_to(workdir): path.read_bytes()
        for path in workdir.rglob('*')
        if path.is_file() and path.name != '.lock'
    }


def expect_kept(workdir: pathlib.Path, before: dict[pathlib.Path, bytes]) -> None:
    """Compares the files with what they were; only lines of metrics.jsonl may be added."""
    after = read_files(workdir)
    records = pathlib.Path('metrics.jsonl')
    assert after.pop(records).startswith(before[records]), 'metrics.jsonl has changed'
    others = {path: content for path, content in before.items() if path != records}
    assert after == others, 'files have changed'


def expect_same(workdir: pathlib.Path, reference: pathlib.Path) -> None:
    """Compares the results of two trainings, except for their times."""
    for name in ('history.csv', *(path.name for path in reference.glob('*.png'))):
        assert filecmp.cmp(workdir / name, reference / name, shallow=False), name
    for name in ('metrics.json', 'config.json'):
        found, expected = (
            json.loads((path / name).read_text()) for path in (workdir, reference)
        )
        assert _clean(found) == _clean(expected), name
    records = [
        [_clean(json.loads(line)) for line in (path / 'metrics.jsonl').open()]
        for path in (workdir, reference)
    ]
    assert records[0] == records[1], 'metrics.jsonl'
    saved = ['model']
    for group in reference.glob('checkpoints/*/'):
        newest = max(int(path.name) for path in group.iterdir() if path.name.isdecimal())
        saved.append(f'checkpoints/{group.name}/{newest}')
    for name in saved:
        found, expected = (checkpoints.read(path / name) for path in (workdir, reference))
        assert found.arrays.keys() == expected.arrays.keys(), name
        for key, array in expected.arrays.items():
            assert np.array_equal(found.arrays[key], array), f'{name}: {key}'
        assert _clean(found.about) == _clean(expected.about), name


def _clean(tree: Any) -> Any:
    """Leaves out times, and how checkpoints are handled."""
    if not isinstance(tree, dict):
        return tree
    return {
        name: _clean(value)
        for name, value in tree.items()
        if not name.endswith(('second', 'seconds')) and name != 'checkpoint'
    }
