"""Groups are taken, published and given up, whatever happens to a worker meanwhile."""

import fcntl
import json
import shutil
import time

import jax
import pytest
import shared_configs
from shared_configs import (
    GROUPS,
    population,
    read_report,
    train_share,
    train_some,
)

from mnist_flax.checkpointing import checkpoints
from mnist_flax.cluster import jobs, shared_workdirs, status
from mnist_flax.cluster.shared_ablations import Ablation
from mnist_flax.cluster.shared_workdirs import SharedWorkdir
from mnist_flax.common.errors import UserError
from mnist_flax.common.worker import Worker
from mnist_flax.training import population as programs
from mnist_flax.training.progress import Progress
from mnist_flax.training.trainer import Trainer


def test_a_group_that_was_begun_is_resumed_by_another_worker(tmp_path, alone, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SharedWorkdir, 'publish', fail)
        with pytest.raises(KeyboardInterrupt):
            train_share(population(), str(tmp_path), Worker(0, 3))
    epochs = []
    train_epoch = programs.train_epoch
    monkeypatch.setattr(
        programs,
        'train_epoch',
        lambda *arguments: epochs.append(1) or train_epoch(*arguments),
    )
    train_share(population(), str(tmp_path), Worker(0, 3))
    assert len(epochs) == 4  # of two groups, and not of the one that had been trained
    assert read_report(tmp_path) == read_report(alone(population))


@pytest.mark.parametrize(
    'step', [1, 2, *(pytest.param(step, marks=pytest.mark.slow) for step in (0, 3, 4, 5))]
)
def test_wherever_publishing_is_cut_short_nothing_is_lost(
    tmp_path, alone, monkeypatch, step
):
    expected = read_report(alone(population))
    left = [step]

    def cut(function):
        def call(*arguments, **options):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        publish = SharedWorkdir.publish

        def cut_short(self, *arguments):
            with pytest.MonkeyPatch.context() as patch:
                for owner, name in (
                    (shared_workdirs.workdirs, 'write'),
                    (shared_workdirs.files, 'make_folder'),
                    (shared_workdirs.pathlib.Path, 'rename'),
                    (shared_workdirs.files, 'sync'),
                    (shared_workdirs.shutil, 'rmtree'),
                ):
                    patch.setattr(owner, name, cut(getattr(owner, name)))
                publish(self, *arguments)

        patch.setattr(SharedWorkdir, 'publish', cut_short)
        with pytest.raises(KeyboardInterrupt):
            train_share(population(), str(tmp_path), Worker(0, 3))
    monkeypatch.setattr(programs, 'train_epoch', at_most(4, programs.train_epoch))
    train_share(population(), str(tmp_path), Worker(0, 3))
    assert read_report(tmp_path) == expected


def at_most(number, function):
    left = [number]

    def call(*arguments):
        left[0] -= 1
        assert left[0] >= 0, 'trained what had been trained'
        return function(*arguments)

    return call


def test_a_group_that_is_published_while_its_lock_is_tried_is_finished(
    tmp_path, monkeypatch
):
    train_some(tmp_path, population(), [])
    ours, theirs = SharedWorkdir(tmp_path), SharedWorkdir(tmp_path)
    flock = fcntl.flock

    def late(descriptor, operation):
        monkeypatch.setattr(fcntl, 'flock', flock)
        with theirs.hold('runs_0-1') as folder:
            assert folder is not None
            theirs.publish('runs_0-1', {}, 1.0)
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', late)
    with ours.hold('runs_0-1') as folder:
        assert folder is None
    assert ours.list_finished() == {'runs_0-1'}


def test_nothing_is_written_after_the_lock_of_a_group_that_fails(tmp_path, monkeypatch):
    written = []
    write = checkpoints.write

    def slow(path, *arguments):
        time.sleep(0.5)
        write(path, *arguments)
        written.append(path)

    save = Progress.report

    def report(self, epoch, *arguments):
        if epoch == 2:
            raise UserError('no room')
        return save(self, epoch, *arguments)

    monkeypatch.setattr(checkpoints, 'write', slow)
    monkeypatch.setattr(Progress, 'report', report)
    with pytest.raises(UserError, match='not trained: runs_0-1: no room'):
        train_share(population(), str(tmp_path), Worker(0, 3))
    assert written == [tmp_path / 'work/runs_0-1/6']


def test_a_group_of_another_worker_is_left_to_it(tmp_path, capsys):
    train_some(tmp_path, population(), [])
    shared = SharedWorkdir(tmp_path)
    with shared.hold('runs_2-3') as folder:
        assert folder == tmp_path / 'work/runs_2-3'
        train_share(population(), str(tmp_path), Worker(1, 3))
    assert shared.list_finished() == {'runs_0-1', 'runs_4-4'}
    assert 'not finished: runs_2-3 (in training on ' in capsys.readouterr().out


def test_a_group_that_was_trained_twice_is_there_once(tmp_path, alone):
    """As on a drive that shows late what another machine has finished."""
    train_some(tmp_path, population(), GROUPS)
    shutil.copytree(tmp_path / 'finished/runs_2-3', tmp_path / 'work/runs_2-3')
    shared = SharedWorkdir(tmp_path)
    shared.publish('runs_2-3', {}, 1.0)
    assert not (tmp_path / 'work/runs_2-3').exists()
    assert json.loads((tmp_path / 'finished/runs_2-3/about.json').read_text())[
        'environment'
    ]


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (UserError('no room'), 'no room'),
        pytest.param(MemoryError(), 'MemoryError', marks=pytest.mark.slow),
        (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED:\n3 GiB'), 'RESOURCE_EXHAUSTED: 3'),
    ],
)
def test_a_group_that_fails_is_named_and_tried_by_the_next_worker(
    tmp_path, alone, capsys, monkeypatch, error, reason
):
    train = Trainer._train_group

    def fail(self, group, *others):
        if group.runs.start == 2:
            raise error
        return train(self, group, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, '_train_group', fail)
        with pytest.raises(UserError, match=f'not trained: runs_2-3: {reason}'):
            train_share(population(), str(tmp_path), Worker(1, 3))
        assert f'warning: runs_2-3 fails: {reason}' in capsys.readouterr().err
        assert status.describe_unfinished(SharedWorkdir(tmp_path)).startswith(
            f'runs_0-1 (not begun), runs_2-3 (failed: {reason}'
        )
        assert '0 running, 1 failed, 2 pending' in status.describe(str(tmp_path))
    train_share(population(), str(tmp_path), Worker(1, 3))
    assert read_report(tmp_path) == read_report(alone(population))


def test_workers_that_have_started_do_not_try_a_failed_group_in_turn(tmp_path):
    train_some(tmp_path, population(), [])
    other = SharedWorkdir(tmp_path)
    with SharedWorkdir(tmp_path).hold('runs_0-1'):
        SharedWorkdir(tmp_path).fail('runs_0-1', 'no room')
    with other.hold('runs_0-1') as folder:
        assert folder is None
    with SharedWorkdir(tmp_path).hold('runs_0-1') as folder:
        assert folder is not None


def test_what_has_failed_in_one_worker_is_tried_by_another_in_the_end(tmp_path, alone):
    """As on a machine with a broken device, beside a whole one."""
    train_some(tmp_path, population(), [])
    hold = SharedWorkdir.hold

    def after_failures(self, name, is_again=False):
        if not failed:
            failed.append(True)
            for of in GROUPS:
                with hold(SharedWorkdir(tmp_path), of):
                    self.fail(of, 'uncorrectable error')
        return hold(self, name, is_again)

    failed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedWorkdir, 'hold', after_failures)
        train_share(population(), str(tmp_path), Worker(0, 3))
    assert read_report(tmp_path) == read_report(alone(population))


def test_a_worker_ends_when_the_workdir_is_made_anew(tmp_path, monkeypatch):
    """With other settings, to which it must not add its results."""
    folder = tmp_path / 'shared'
    config = shared_configs.ablation()
    train = Trainer._train_group

    def replace(self, *arguments):
        monkeypatch.setattr(Trainer, '_train_group', train)
        shutil.rmtree(folder)
        config.recipe.optimizer.learning_rate = 0.1
        jobs.make(Ablation(config, 3), str(folder))
        return train(self, *arguments)

    monkeypatch.setattr(Trainer, '_train_group', replace)
    with pytest.raises(UserError, match='was removed or replaced while this process was'):
        jobs.train(Ablation(shared_configs.ablation(), 3), str(folder), Worker(0, 3))
    assert not SharedWorkdir(folder).list_finished()
