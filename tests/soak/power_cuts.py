"""Cuts the power of short trainings at random moments, and tabulates how many passed.

Each works on an ext4 file system in a file. What that file holds at some moment is what a
power cut then leaves: a copy of it is mounted, and the same command is run again there. All
that had been written has to be intact, and in the end the results have to be those of a
training that was not interrupted. Mounting needs the superuser. docs/reliability.md shows
the table.
"""

import argparse
import contextlib
import csv
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cases import expect_same
from soak import TRAININGS, command

from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError

_ABLATION = (
    'scripts/ablate.py', '--variants=no_dropout', '--seeds=6',
    '--config.recipe.num_epochs=2',
    '--config.recipe.model.conv=xla', '--config.recipe.model.features=(4,8)',
    '--config.recipe.model.hidden_size=16', '--config.recipe.dataset.holdout_size=300',
    '--config.recipe.dataset.train_split=train[:1500]',
    '--config.recipe.dataset.test_split=test[:300]',
)  # fmt: skip


class Job(NamedTuple):
    """A command that is run again after each cut."""

    command: Callable[[pathlib.Path], list[str]]  # by workdir
    expect_same: Callable[[pathlib.Path, pathlib.Path], None]  # of two workdirs


def main() -> None:
    """Cuts; the exit status is 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cuts', type=int, default=30, help='of each command')
    parser.add_argument('--seed', type=int, default=0, help='of the random moments')
    jobs = {
        name: Job(lambda workdir, name=name: command(workdir, name), expect_same)
        for name in TRAININGS
    }
    jobs['an ablation'] = Job(_ablate, _expect_same_rows)
    jobs['a sweep by a worker'] = Job(_work, expect_same)
    parser.add_argument('--jobs', nargs='*', choices=jobs, default=jobs, metavar='JOB')
    arguments = parser.parse_args()
    if not _can_mount():
        print('not tried, since this user cannot mount a file system in a file')
        return
    rng, rows = random.Random(arguments.seed), []
    for name in arguments.jobs:
        job = jobs[name]
        with tempfile.TemporaryDirectory() as folder:
            passed = _cut(pathlib.Path(folder), name, job, arguments.cuts, rng)
        rows.append(f'| power cuts of {name} | {arguments.cuts} | {passed} |')
    print('\n| what happened | tried | passed |', '|---|---|---|', *rows, sep='\n')
    sys.exit(any(row.split()[-2] != str(arguments.cuts) for row in rows))


def _cut(
    folder: pathlib.Path, name: str, job: Job, num_cuts: int, rng: random.Random
) -> int:
    """Returns how many cuts have passed: of each training all, or none after a failure."""
    reference = folder / 'reference'
    for workdir in (reference, folder / 'timed'):  # the first one compiles
        start = time.monotonic()
        subprocess.run(job.command(workdir), check=True, capture_output=True)
        seconds = time.monotonic() - start
    passed = tried = 0
    while tried < num_cuts:
        image = folder / 'disk'
        _make_disk(image)
        cuts, ended = 0, False
        try:
            while not ended:
                with _mounted(image, folder / 'mount') as disk:
                    process = subprocess.Popen(
                        job.command(disk / 'workdir'),
                        stdout=subprocess.DEVNULL,
                        stderr=(folder / 'stderr').open('w'),
                    )
                    try:
                        wait = rng.random() * seconds if tried < num_cuts else 300
                        status = process.wait(timeout=wait)
                        assert status == 0, (folder / 'stderr').read_text()
                        job.expect_same(disk / 'workdir', reference)
                        ended = True
                    except subprocess.TimeoutExpired:
                        tried, cuts = tried + 1, cuts + 1
                        process.send_signal(signal.SIGSTOP)
                        finished = _list_finished(disk)
                        copy = ['cp', '--sparse=always', image, folder / 'copy']
                        subprocess.run(copy, check=True)
                    finally:
                        process.kill()
                        process.wait()
                if not ended:
                    (folder / 'copy').replace(image)
                    with _mounted(image, folder / 'mount') as disk:
                        _expect_intact(disk, finished)
            print(f'{name}, {cuts} power cuts: passed', flush=True)
            passed += cuts
        except (AssertionError, UserError, subprocess.CalledProcessError) as error:
            print(f'{name}, {cuts} power cuts: FAILED: {error}', flush=True)
            if not cuts:  # it fails by itself, and would do so again
                return passed
    return passed


def _ablate(workdir: pathlib.Path) -> list[str]:
    return [sys.executable, *_ABLATION, f'--workdir={workdir}']


def _work(workdir: pathlib.Path) -> list[str]:
    words = command(workdir, 'a sweep of four runs', '--config.runs_at_once=1')
    return [*words, '--worker=0', '--num_workers=1']


def _expect_same_rows(workdir: pathlib.Path, reference: pathlib.Path) -> None:
    found, expected = (
        [
            {name: text for name, text in row.items() if not name.endswith('seconds')}
            for row in csv.DictReader((path / 'results.csv').open())
        ]
        for path in (workdir, reference)
    )
    assert found == expected, 'results.csv'


def _list_finished(disk: pathlib.Path) -> dict[pathlib.Path, int]:
    """Finds the newest checkpoint of each group that is on the disk for certain."""
    finished = {}
    for group in _list_groups(disk):
        steps = sorted(int(path.name) for path in group.iterdir() if path.name.isdecimal())
        if len(steps) > 1:  # the last one may just have got its name
            finished[group] = steps[-2]
    return finished


def _list_groups(disk: pathlib.Path) -> list[pathlib.Path]:
    return [*disk.glob('workdir/checkpoints/*/'), *disk.glob('workdir/work/*/')]


def _expect_intact(disk: pathlib.Path, finished: dict[pathlib.Path, int]) -> None:
    newest = dict.fromkeys(finished, 0)
    for path in (path for group in _list_groups(disk) for path in group.iterdir()):
        if path.name.isdecimal():
            checkpoints.read(path)
            newest[path.parent] = max(newest.get(path.parent, 0), int(path.name))
    for group, step in finished.items():
        # What was renamed at that moment may be there already.
        if group.exists() or group.parent.name != 'work':
            assert newest[group] >= step, f'{group} has {newest[group]}, and had {step}'


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            _make_disk(image := pathlib.Path(folder, 'disk'))
            with _mounted(image, pathlib.Path(folder, 'mount')):
                return True
        except (FileNotFoundError, subprocess.CalledProcessError):
            return False


def _make_disk(image: pathlib.Path) -> None:
    with image.open('wb') as file:
        file.truncate(64 * 2**20)
    subprocess.run(['mkfs.ext4', '-q', '-F', image], check=True)


@contextlib.contextmanager
def _mounted(image: pathlib.Path, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(['mount', '-o', 'loop', image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(['umount', folder], check=True)


if __name__ == '__main__':
    main()
