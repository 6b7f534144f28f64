"""Kills and damages short trainings in many ways, and tabulates how many passed.

A training passes if it ends with the bits of one that was not interrupted: networks,
optimizer states, histories, metrics and figures. docs/reliability.md shows the table.
"""

import argparse
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
from collections.abc import Iterator

from cases import (
    DAMAGES,
    MOMENTS,
    REFUSALS,
    expect,
    expect_kept,
    expect_same,
    read_files,
)

SHORT = (
    '--config.dataset.train_split=train[:2000]', '--config.dataset.test_split=test[:500]',
    '--config.num_epochs=20', '--config.model.features=(4,8)', '--config.model.conv=xla',
    '--config.model.hidden_size=16',
)  # fmt: skip
ONE = 'one run'
TRAININGS = {
    ONE: (),
    'three runs, all ingredients': (
        '--config.runs=3', '--config.ema_decay=0.9', '--config.model.dropout_rate=0.2',
        '--config.model.batch_norm=true', '--config.augment.shift=2.0',
        '--config.loss.label_smoothing=0.1', '--config.num_epochs=8',
        '--config.log_every_steps=7',
    ),
    'a sweep of four runs': (
        '--config.sweep.model.hidden_size=(8,16)', '--config.num_epochs=5',
        '--config.sweep.optimizer.learning_rate=(1e-3,2e-3)',
        '--config.dataset.validation=holdout', '--config.dataset.holdout_size=300',
    ),
}  # fmt: skip


def main() -> None:
    """Runs all cases; the exit status is 1 if one has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=50, help='kills at random moments')
    parser.add_argument('--seed', type=int, default=0, help='of the random moments')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(pathlib.Path(folder), random.Random(arguments.seed))
        soak.run(arguments.kills)
    rows = [f'| {what} | {n} | {passed} |' for what, (n, passed) in soak.counts.items()]
    print('\n| what happened | tried | passed |', '|---|---|---|', *rows, sep='\n')
    sys.exit(any(tried != passed for tried, passed in soak.counts.values()))


def command(workdir: pathlib.Path, name: str, *flags: str) -> list[str]:
    program = (sys.executable, '-m', 'mnist_flax.main', f'--workdir={workdir}')
    return [*program, *SHORT, *TRAININGS[name], *flags]


def train(
    workdir: pathlib.Path, *flags: str, name: str = ONE, under: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    """Runs a training to its end."""
    whole = [*under, *command(workdir, name, *flags)]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=300)


def start(workdir: pathlib.Path, name: str = ONE) -> subprocess.Popen:
    """Starts a training, which writes a log beside its workdir."""
    with pathlib.Path(f'{workdir}.log').open('w') as log:
        return subprocess.Popen(command(workdir, name), stdout=log, stderr=log)


def read_log(workdir: pathlib.Path) -> str:
    return pathlib.Path(f'{workdir}.log').read_text()


def wait_for(workdir: pathlib.Path, text: str, process: subprocess.Popen) -> None:
    while text not in read_log(workdir):
        assert process.poll() is None, read_log(workdir)
        time.sleep(0.005)


class Soak:
    """The cases, and how many of each were tried and passed."""

    def __init__(self, folder: pathlib.Path, rng: random.Random):
        self.counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
        self._folder = folder
        self._rng = rng
        self._number = 0
        self._references = {name: self._new_workdir(name) for name in TRAININGS}

    def run(self, num_kills: int) -> None:
        for name, workdir in self._references.items():
            expect(train(workdir, name=name), 0, '')
        self._kill(num_kills)
        half = self._new_workdir('half')
        self._interrupt(half, signal.SIGTERM)
        for what, damage in DAMAGES.items():
            with self._case(f'{what}: the one before is used', half) as workdir:
                damage(workdir)
                self._expect_same_end(workdir, 'is damaged')
        for what, prepare, under, message in REFUSALS:
            what = f'{what}: one clear line, nothing is lost'
            with self._case(what, half) as workdir:
                prepare(workdir)
                before = read_files(workdir)
                expect(train(workdir, under=under), 1, message)
                expect_kept(workdir, before)
                workdir.chmod(0o755)
                if message.startswith('cannot write'):
                    self._expect_same_end(workdir)
        for number in (signal.SIGTERM, signal.SIGINT):
            with self._case(f'{number.name}: saved, and resumed') as workdir:
                self._interrupt(workdir, number)
                self._expect_same_end(workdir)
        with self._case('SIGINT twice: ended at once, and resumed') as workdir:
            process = start(workdir)
            # Before the second checkpoint is begun, the first one is complete.
            wait_for(workdir, 'epoch  3', process)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.01)
            # By the shell's convention 130, if the second one came late enough.
            assert process.wait(timeout=60) in (130, -signal.SIGINT)
            self._expect_same_end(workdir)
        with self._case(
            'a second process in the workdir: refused, the first ends'
        ) as workdir:
            process = start(workdir)
            wait_for(workdir, 'epoch  1', process)
            expect(train(workdir), 1, 'another process is working')
            assert process.wait(timeout=120) == 0
            expect_same(workdir, self._references[ONE])
        with self._case('a new run where a run is: both are kept', half) as workdir:
            self._expect_same_end(
                workdir, 'the earlier run was moved to', '--config.checkpoint.resume=false'
            )
            kept = read_files(workdir / 'earlier_1')
            assert kept == read_files(half), 'the earlier run has changed'
        what = 'a loss that is not finite: stopped, the last good checkpoint is kept'
        with self._case(what, half) as workdir:
            allow = '--config.checkpoint.allow_changes=true'
            rate = '--config.optimizer.learning_rate=1e30'
            expect(train(workdir, rate, allow), 1, 'the last good checkpoint is')
            self._expect_same_end(workdir)
        self._fill_a_disk(half)

    def _kill(self, num_kills: int) -> None:
        """Kills trainings, each again and again until one ends."""
        names = list(TRAININGS)
        while num_kills:
            name = names[self._number % len(names)]
            workdir = self._new_workdir(name)
            moments = []
            process = start(workdir, name)
            while num_kills:
                moment = self._rng.choice(list(MOMENTS))
                has_come, seconds = MOMENTS[moment]
                while process.poll() is None and not has_come(workdir):
                    time.sleep(0.0005)
                time.sleep(self._rng.random() * seconds)
                if process.poll() is not None:
                    break
                process.kill()
                process.wait()
                moments.append(f'kill -9 {moment}: resumed')
                num_kills -= 1
                process = start(workdir, name)
            moments.append(f'a training killed in these ways ({name}): the same bits')
            with self._count(*moments):
                assert process.wait(timeout=300) == 0, read_log(workdir)
                expect_same(workdir, self._references[name])

    def _interrupt(self, workdir: pathlib.Path, number: signal.Signals) -> None:
        process = start(workdir)
        wait_for(workdir, f'epoch {self._rng.randint(5, 9):2}', process)
        time.sleep(self._rng.random() / 10)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number, read_log(workdir)
        assert 'saved in' in read_log(workdir), read_log(workdir)

    def _fill_a_disk(self, half: pathlib.Path) -> None:
        disk = self._new_workdir('disk')
        disk.mkdir()
        size = sum(len(content) for content in read_files(half).values())
        mount = ['mount', '-t', 'tmpfs', '-o', f'size={2 * size}', 'tmpfs', str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            print('a full disk: not tried, since this user cannot mount one', flush=True)
            return
        try:
            with self._count('a full disk: one clear line, and resumed later'):
                workdir = disk / 'workdir'
                shutil.copytree(half, workdir)
                with contextlib.suppress(OSError), (disk / 'filler').open('wb', 0) as file:
                    while True:
                        file.write(b'0' * 4096)
                before = read_files(workdir)
                expect(train(workdir), 1, 'No space left on device')
                expect_kept(workdir, before)
                (disk / 'filler').unlink()
                subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
                self._expect_same_end(workdir)
        finally:
            subprocess.run(['umount', str(disk)], check=True)

    def _expect_same_end(
        self, workdir: pathlib.Path, message: str = 'were done before', *flags: str
    ) -> None:
        expect(train(workdir, *flags), 0, message)
        expect_same(workdir, self._references[ONE])

    @contextlib.contextmanager
    def _case(
        self, what: str, origin: pathlib.Path | None = None
    ) -> Iterator[pathlib.Path]:
        workdir = self._new_workdir('case')
        if origin:
            shutil.copytree(origin, workdir)
        with self._count(what):
            yield workdir

    @contextlib.contextmanager
    def _count(self, *cases: str) -> Iterator[None]:
        failure = None
        try:
            yield
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failure = error
        for what in cases:
            self.counts[what][0] += 1
            self.counts[what][1] += failure is None
            print(f'{what}: {f"FAILED: {failure}" if failure else "passed"}', flush=True)

    def _new_workdir(self, name: str) -> pathlib.Path:
        self._number += 1
        return self._folder / f'{self._number} {name}'


if __name__ == '__main__':
    main()
