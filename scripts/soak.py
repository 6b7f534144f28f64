"""Kills and damages short trainings in many ways, and tabulates which survived.

A training survives if it ends with the bits of one that nothing happened to: networks,
optimizer states, histories, metrics and figures. The table is that of docs/reliability.md.
"""

import collections
import contextlib
import csv
import ctypes
import filecmp
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from mnist_flax import cli

_KILLS = flags.DEFINE_integer(
    'kills', 50, 'How often to kill a training at a random moment.', lower_bound=0
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the random moments.')

_SHORT = (
    '--config.dataset.train_split=train[:2000]', '--config.dataset.test_split=test[:500]',
    '--config.num_epochs=20', '--config.model.features=(4,8)', '--config.model.conv=xla',
    '--config.model.hidden_size=16',
)  # fmt: skip
_TRAININGS = {
    'one run': (),
    'three runs, all ingredients': (
        '--config.runs=3', '--config.ema_decay=0.9', '--config.model.dropout_rate=0.2',
        '--config.model.batch_norm=true', '--config.augment.shift=2.0',
        '--config.label_smoothing=0.1', '--config.num_epochs=8',
    ),
}  # fmt: skip
_ONE = 'one run'
# What is compiled is written to a cache, which a full disk would warn of too.
_WITHOUT_CACHE = {**os.environ, 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
_CAP_DAC_OVERRIDE, _PR_CAPBSET_DROP = 1, 24


def main() -> None:
    """Runs all cases; the exit status is 1 if one has failed."""
    with tempfile.TemporaryDirectory() as folder:
        soak = _Soak(pathlib.Path(folder), random.Random(_SEED.value))
        soak.run(_KILLS.value)
    print(f'\n{soak.table()}', end='')
    sys.exit(bool(soak.failures))


class _Soak:
    def __init__(self, folder: pathlib.Path, rng: random.Random):
        self.failures: list[str] = []
        self._folder = folder
        self._rng = rng
        self._counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
        self._number = 0

    def run(self, num_kills: int) -> None:
        """Runs all cases."""
        self._references = {name: self._new(name) for name in _TRAININGS}
        for name, workdir in self._references.items():
            assert self._train(workdir, name).returncode == 0
        self._kill(num_kills)
        half = self._new('half')
        self._interrupt(half, signal.SIGTERM)
        for what, damage, warning in _DAMAGES:
            with self._case(f'{what}: the one before is used', half) as workdir:
                damage(workdir)
                process = self._train(workdir)
                _expect(process, 0, warning)
                _expect_same(workdir, self._references[_ONE])
        for what, prepare, options, flag, message in _REFUSALS:
            with self._case(
                f'{what}: one clear line, all is left as it was', half
            ) as workdir:
                prepare(workdir)
                before = _read_files(workdir)
                process = self._train(workdir, _ONE, *flag, **options)
                _expect(process, 1, message)
                if _read_files(workdir) != before:
                    raise AssertionError('files have changed')
                workdir.chmod(0o755)
                if prepare is _nothing:
                    _expect(self._train(workdir), 0, '')
                    _expect_same(workdir, self._references[_ONE])
        for number in (signal.SIGTERM, signal.SIGINT):
            for _ in range(3):
                with self._case(f'{number.name}: saved, and gone on with') as workdir:
                    self._interrupt(workdir, number)
                    _expect(self._train(workdir), 0, 'were done before')
                    _expect_same(workdir, self._references[_ONE])
        with self._case('SIGINT twice: left at once, and gone on with') as workdir:
            started = self._start(workdir)
            self._wait_for(workdir, 'epoch  2', started)
            for _ in range(2):
                started.send_signal(signal.SIGINT)
                time.sleep(0.01)
            assert started.wait(timeout=60) == 130
            _expect(self._train(workdir), 0, 'were done before')
            _expect_same(workdir, self._references[_ONE])
        self._share_a_workdir()
        self._start_afresh(half)
        self._diverge(half)

    def table(self) -> str:
        """Tabulates what was tried and what survived, as Markdown."""
        rows = [f'| {what} | {n} | {well} |' for what, (n, well) in self._counts.items()]
        return '\n'.join(
            ['| what happened | tried | survived |', '|---|---|---|', *rows, '']
        )

    def _kill(self, num_kills: int) -> None:
        """Kills trainings, each again and again until it ends."""
        names = list(_TRAININGS)
        while num_kills:
            name = names[self._number % len(names)]
            workdir = self._new(name)
            moments = []
            while num_kills:
                moment = self._rng.choice(list(_MOMENTS))
                process = self._start(workdir, name)
                ended = self._wait_until(_MOMENTS[moment], workdir, process)
                if ended:
                    break
                process.kill()
                process.wait()
                moments.append(f'kill -9 {moment}: gone on with')
                num_kills -= 1
            else:
                process = self._start(workdir, name)
            try:
                assert process.wait(timeout=300) == 0, self._log(workdir)
                _expect_same(workdir, self._references[name])
                survived = True
            except AssertionError as error:
                self.failures.append(f'{moments}: {error}')
                print(self.failures[-1], flush=True)
                survived = False
            for moment in moments:
                self._count(moment, survived)
            self._count(f'a training so killed ({name}): the same bits', survived)

    def _interrupt(self, workdir: pathlib.Path, number: signal.Signals) -> None:
        process = self._start(workdir)
        self._wait_for(workdir, f'epoch {self._rng.randint(5, 9):2}', process)
        time.sleep(self._rng.random() / 10)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number, self._log(workdir)
        assert 'saved in' in self._log(workdir), self._log(workdir)

    def _share_a_workdir(self) -> None:
        with self._case(
            'a second process in the workdir: refused, the first ends'
        ) as workdir:
            process = self._start(workdir)
            self._wait_for(workdir, 'epoch  1', process)
            second = subprocess.run(
                self._command(workdir), capture_output=True, text=True, check=False
            )
            _expect(second, 1, 'another process is at work')
            assert process.wait(timeout=120) == 0
            _expect_same(workdir, self._references[_ONE])

    def _start_afresh(self, half: pathlib.Path) -> None:
        with self._case('a fresh start where a run is: both are kept', half) as workdir:
            process = self._train(workdir, _ONE, '--config.checkpoint.resume=false')
            _expect(process, 0, 'the earlier run was moved to')
            _expect_same(workdir, self._references[_ONE])
            kept = _read_files(workdir / 'earlier_1')
            assert kept == _read_files(half), 'the earlier run has changed'

    def _diverge(self, half: pathlib.Path) -> None:
        what = 'a loss that is not finite: stopped, the last good checkpoint is kept'
        with self._case(what, half) as workdir:
            allow = '--config.checkpoint.allow_changes=true'
            rate = '--config.optimizer.learning_rate=1e30'
            _expect(self._train(workdir, _ONE, rate, allow), 1, 'last good checkpoint is')
            _expect(self._train(workdir, _ONE, allow), 0, 'were done before')
            _expect_same(workdir, self._references[_ONE])

    @contextlib.contextmanager
    def _case(
        self, what: str, origin: pathlib.Path | None = None
    ) -> Iterator[pathlib.Path]:
        workdir = self._new('case')
        if origin:
            shutil.copytree(origin, workdir)
        try:
            yield workdir
            self._count(what, True)
        except AssertionError as error:
            self.failures.append(f'{what}: {error}')
            print(self.failures[-1], flush=True)
            self._count(what, False)

    def _count(self, what: str, survived: bool) -> None:
        self._counts[what][0] += 1
        self._counts[what][1] += survived
        print(f'{what}: {"survived" if survived else "FAILED"}', flush=True)

    def _new(self, name: str) -> pathlib.Path:
        self._number += 1
        return self._folder / f'{self._number} {name}'

    def _command(self, workdir: pathlib.Path, name: str = _ONE, *more: str) -> list[str]:
        return [
            sys.executable, '-m', 'mnist_flax.main', f'--workdir={workdir}',
            *_SHORT, *_TRAININGS[name], *more,
        ]  # fmt: skip

    def _train(
        self, workdir: pathlib.Path, name: str = _ONE, *more: str, **options: Any
    ) -> subprocess.CompletedProcess:
        command = self._command(workdir, name, *more)
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=300, **options
        )

    def _start(self, workdir: pathlib.Path, name: str = _ONE) -> subprocess.Popen:
        with pathlib.Path(f'{workdir}.log').open('w') as log:
            return subprocess.Popen(self._command(workdir, name), stdout=log, stderr=log)

    def _log(self, workdir: pathlib.Path) -> str:
        return pathlib.Path(f'{workdir}.log').read_text()

    def _wait_for(
        self, workdir: pathlib.Path, text: str, process: subprocess.Popen
    ) -> None:
        while text not in self._log(workdir):
            assert process.poll() is None, self._log(workdir)
            time.sleep(0.005)

    def _wait_until(
        self,
        moment: tuple[Callable[[pathlib.Path], bool], float],
        workdir: pathlib.Path,
        process: subprocess.Popen,
    ) -> bool:
        """Waits for a moment and a little more; tells whether the process ended before."""
        has_come, at_most = moment
        while process.poll() is None and not has_come(workdir):
            time.sleep(0.0005)
        time.sleep(self._rng.random() * at_most)
        return process.poll() is not None


def _is_writing(workdir: pathlib.Path) -> bool:
    return any(workdir.glob('checkpoints/*/*tmp*'))


def _is_summing(workdir: pathlib.Path) -> bool:
    return any(
        not (path / 'SHA256SUMS').exists() and path.name.isdecimal()
        for path in workdir.glob('checkpoints/*/*')
    )


def _is_reporting(workdir: pathlib.Path) -> bool:
    return (workdir / '.model.new').exists() or any(workdir.glob('.*.tmp'))


def _is_training(workdir: pathlib.Path) -> bool:
    log = pathlib.Path(f'{workdir}.log').read_text()
    return '\nepoch ' in log or 'were done before' in log


# When to kill: a state of the workdir, and at most so many seconds later.
_MOMENTS: dict[str, tuple[Callable[[pathlib.Path], bool], float]] = {
    'at the start': (lambda workdir: True, 4.0),
    'while training': (_is_training, 1.5),
    'while a checkpoint is written': (_is_writing, 0.05),
    'before its checksums are': (_is_summing, 0.002),
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


def _truncate_settings(workdir: pathlib.Path) -> None:
    path = workdir / 'checkpoints/config.json'
    path.write_bytes(path.read_bytes()[:100])


def _replace_by_file(workdir: pathlib.Path) -> None:
    shutil.rmtree(workdir)
    workdir.write_text('a file')


def _forbid_writing(workdir: pathlib.Path) -> None:
    workdir.chmod(0o555)


def _nothing(workdir: pathlib.Path) -> None:
    pass


def _limit_files() -> None:
    # What comes closest to a full disk without one: no file may grow beyond this.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))


def _obey_permissions() -> None:
    # The superuser gives up the right to write where it is forbidden; others have none.
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


_DAMAGES = [  # what, how, what is said
    ('the newest checkpoint truncated', _truncate, 'is damaged'),
    ('a bit of it flipped', _flip_a_bit, 'is damaged'),
    ('a file of it deleted', _delete, 'is damaged'),
    ('half of its files deleted', _delete_half, 'is damaged'),
    ('its checksums missing, as after a kill', _delete_sums, ''),
    ('the two newest truncated', _truncate_two, 'is damaged'),
]
_REFUSALS: list[tuple[str, Callable, dict[str, Any], tuple[str, ...], str]] = [
    ('all checkpoints truncated', _truncate_all, {}, (), 'none of the checkpoints'),
    ('their settings truncated', _truncate_settings, {}, (), 'cannot read'),
    (
        'a disk without room', _nothing,
        {'preexec_fn': _limit_files, 'env': _WITHOUT_CACHE}, (), 'cannot write the checkp',
    ),
    (
        'a workdir without permission to write', _forbid_writing,
        {'preexec_fn': _obey_permissions}, (), 'cannot write to',
    ),
    ('a workdir that is a file', _replace_by_file, {}, (), 'cannot write to'),
    ('other settings', _nothing, {}, ('--config.seed=1',), 'seed 0, here 1'),
]  # fmt: skip


def _expect(process: subprocess.CompletedProcess, status: int, message: str) -> None:
    output = process.stdout + process.stderr
    assert process.returncode == status, f'status {process.returncode}: {output}'
    assert message in output, output
    lines = process.stderr.splitlines()
    assert all(line.startswith(('error: ', 'warning: ')) for line in lines), process.stderr
    if status:
        assert len(lines) == 1, process.stderr


def _read_files(workdir: pathlib.Path) -> dict[pathlib.Path, bytes]:
    paths = workdir.rglob('*') if workdir.is_dir() else [workdir]
    return {
        path.relative_to(workdir): path.read_bytes()
        for path in paths
        if path.is_file() and path.name != '.lock'
    }


def _expect_same(workdir: pathlib.Path, reference: pathlib.Path) -> None:
    """Compares all that does not tell the time."""
    import numpy as np

    from mnist_flax import checkpoints

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


if __name__ == '__main__':
    cli.run(main)
