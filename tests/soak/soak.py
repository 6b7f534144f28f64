"""Kills and damages short trainings in many ways, and tabulates which survived.

A training survives if it ends with the bits of one that nothing happened to: networks,
optimizer states, histories, metrics and figures. The table is that of docs/reliability.md.
"""

import collections
import contextlib
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from absl import flags

from mnist_flax.common import cli
from cases import (
    DAMAGES,
    MOMENTS,
    REFUSALS,
    expect,
    expect_same,
    nothing,
    read_files,
)

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
        for what, damage, warning in DAMAGES:
            with self._case(f'{what}: the one before is used', half) as workdir:
                damage(workdir)
                process = self._train(workdir)
                expect(process, 0, warning)
                expect_same(workdir, self._references[_ONE])
        for what, prepare, prelude, flag, message in REFUSALS:
            with self._case(
                f'{what}: one clear line, all is left as it was', half
            ) as workdir:
                prepare(workdir)
                before = read_files(workdir)
                process = self._train(workdir, _ONE, *flag, prelude=prelude)
                expect(process, 1, message)
                if read_files(workdir) != before:
                    raise AssertionError('files have changed')
                workdir.chmod(0o755)
                if prepare is nothing:
                    expect(self._train(workdir), 0, '')
                    expect_same(workdir, self._references[_ONE])
        for number in (signal.SIGTERM, signal.SIGINT):
            for _ in range(3):
                with self._case(f'{number.name}: saved, and gone on with') as workdir:
                    self._interrupt(workdir, number)
                    expect(self._train(workdir), 0, 'were done before')
                    expect_same(workdir, self._references[_ONE])
        with self._case('SIGINT twice: left at once, and gone on with') as workdir:
            started = self._start(workdir)
            self._wait_for(workdir, 'epoch  2', started)
            for _ in range(2):
                started.send_signal(signal.SIGINT)
                time.sleep(0.01)
            # By the shell's convention 130, if the second one came late enough.
            assert started.wait(timeout=60) in (130, -signal.SIGINT)
            expect(self._train(workdir), 0, 'were done before')
            expect_same(workdir, self._references[_ONE])
        self._share_a_workdir()
        self._start_afresh(half)
        self._diverge(half)
        self._fill_a_disk(half)

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
                moment = self._rng.choice(list(MOMENTS))
                process = self._start(workdir, name)
                ended = self._wait_until(MOMENTS[moment], workdir, process)
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
                expect_same(workdir, self._references[name])
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
            expect(second, 1, 'another process is at work')
            assert process.wait(timeout=120) == 0
            expect_same(workdir, self._references[_ONE])

    def _start_afresh(self, half: pathlib.Path) -> None:
        with self._case('a fresh start where a run is: both are kept', half) as workdir:
            process = self._train(workdir, _ONE, '--config.checkpoint.resume=false')
            expect(process, 0, 'the earlier run was moved to')
            expect_same(workdir, self._references[_ONE])
            kept = read_files(workdir / 'earlier_1')
            assert kept == read_files(half), 'the earlier run has changed'

    def _diverge(self, half: pathlib.Path) -> None:
        what = 'a loss that is not finite: stopped, the last good checkpoint is kept'
        with self._case(what, half) as workdir:
            allow = '--config.checkpoint.allow_changes=true'
            rate = '--config.optimizer.learning_rate=1e30'
            expect(self._train(workdir, _ONE, rate, allow), 1, 'last good checkpoint is')
            expect(self._train(workdir), 0, 'were done before')
            expect_same(workdir, self._references[_ONE])

    def _fill_a_disk(self, half: pathlib.Path) -> None:
        disk = self._new('disk')
        disk.mkdir()
        size = sum(len(content) for content in read_files(half).values())
        mount = ['mount', '-t', 'tmpfs', '-o', f'size={2 * size}', 'tmpfs', str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            print('a full disk: not tried, since this user cannot mount one', flush=True)
            return
        try:
            with self._case('a full disk: one clear line, and gone on with later'):
                workdir = disk / 'workdir'
                shutil.copytree(half, workdir)
                with contextlib.suppress(OSError), (disk / 'filler').open('wb', 0) as file:
                    while True:
                        file.write(b'0' * 4096)
                before = read_files(workdir)
                expect(self._train(workdir), 1, 'No space left on device')
                assert read_files(workdir) == before, 'files have changed'
                (disk / 'filler').unlink()
                subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
                expect(self._train(workdir), 0, 'were done before')
                expect_same(workdir, self._references[_ONE])
        finally:
            subprocess.run(['umount', str(disk)], check=True)

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
        self, workdir: pathlib.Path, name: str = _ONE, *more: str, prelude: str = ''
    ) -> subprocess.CompletedProcess:
        command = self._command(workdir, name, *more)
        if prelude:
            become = (
                'import os, sys\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
            )
            command[1:1] = ['-c', prelude + become]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=300
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


if __name__ == '__main__':
    cli.run(main)
