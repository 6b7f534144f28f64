"""What must not be trained, or reported, in a shared workdir ends in one line."""

import shutil

import pytest
import research_parts
from shared_configs import GROUPS, gather, population, train_share, train_some
from small_configs import part

from mnist_flax.checkpointing import workdirs
from mnist_flax.cluster import status
from mnist_flax.cluster.shared_workdirs import SharedWorkdir
from mnist_flax.common.errors import UserError
from mnist_flax.common.worker import Worker
from mnist_flax.train import train_and_evaluate


def test_other_settings_are_refused(tmp_path):
    train_some(tmp_path, population(), [])
    for field, value in (('batch_size', 25), ('runs_at_once', 1), ('log_every_steps', 3)):
        config = population()
        config[field] = value
        with pytest.raises(UserError, match=rf'with other settings \(config.{field}; '):
            train_share(config, str(tmp_path), Worker(1, 3))
    for field, value in (('runs_at_once', 0), ('checkpoint.resume', False)):
        config = population()
        config.update_from_flattened_dict({field: value})
        with pytest.raises(UserError, match=f'config.{field}: found {value}; allowed w'):
            train_share(config, str(tmp_path), Worker(1, 3))


def test_another_teacher_is_refused(tmp_path, monkeypatch):
    config = population()
    config.loss = part('taught', teacher=part('Teacher'))
    train_some(tmp_path, config, [])
    monkeypatch.setattr(research_parts.Teacher, 'digest', 'other')
    with pytest.raises(UserError, match=r'with other settings \(source.loss.teacher; see'):
        train_share(config, str(tmp_path), Worker(1, 3))


SHARED = '{"id": "0", "groups": ["runs_0-1", "x"], "settings": {}}'
ABOUT = (
    '{"id": "0", "seconds": 1.0, '
    '"environment": {"device": %s, "num_devices": 1, "versions": %s}}'
)


@pytest.mark.parametrize(
    ('name', 'damaged'),
    [
        *(('shared.json', of) for of in ('', '3', '{}', SHARED, '[' * 100_000)),
        ('shared.json', '{"id": "0", "groups": [], "settings": []}'),
        *(('about.json', of) for of in ('', '{}', ABOUT % ('3', '{}'))),
        ('about.json', ABOUT % ('"cpu"', '1')),
        ('result/SHA256SUMS', ''),
    ],
)
def test_a_damaged_workdir_is_one_line(tmp_path, name, damaged):
    train_some(tmp_path, population(), GROUPS[:1])
    path = tmp_path / ('' if name == 'shared.json' else 'finished/runs_0-1') / name
    path.write_text(damaged)
    with pytest.raises(UserError, match=path.name if 'SUMS' not in name else 'damaged'):
        gather(population(), str(tmp_path), only_finished=True)
    if name == 'shared.json':
        with pytest.raises(UserError, match='--workdir: '):
            train_share(population(), str(tmp_path), Worker(1, 3))
    else:
        with SharedWorkdir(tmp_path).hold('runs_2-3'):
            assert 'the time left is known when' in status.describe(str(tmp_path)) or (
                'about 0 min left' in status.describe(str(tmp_path))
            )


def test_the_results_of_other_runs_are_not_taken(tmp_path):
    train_some(tmp_path, population(), GROUPS[:2])
    shutil.rmtree(tmp_path / 'finished/runs_2-3')
    shutil.copytree(tmp_path / 'finished/runs_0-1', tmp_path / 'finished/runs_2-3')
    with pytest.raises(UserError, match=r'runs_2-3/result is of the runs \[0, 1\], and'):
        gather(population(), str(tmp_path), only_finished=True)


def test_results_without_their_settings_are_not_taken(tmp_path):
    train_some(tmp_path, population(), GROUPS[:1])
    (tmp_path / 'shared.json').unlink()
    config = population()
    config.optimizer.learning_rate = 0.1
    with pytest.raises(UserError, match='holds groups of workers, and no shared.json'):
        train_share(config, str(tmp_path), Worker(0, 3))


def test_results_of_an_earlier_workdir_are_not_taken(tmp_path):
    train_some(tmp_path / 'one', population(), GROUPS[:1])
    train_some(tmp_path / 'other', population(), GROUPS[1:2])
    moved = tmp_path / 'other/finished/runs_0-1'
    (tmp_path / 'one/finished/runs_0-1').rename(moved)
    with pytest.raises(UserError, match='runs_0-1 was trained for another shared.json'):
        gather(population(), str(tmp_path / 'other'), only_finished=True)


def test_one_process_and_workers_keep_out_of_each_other_s_way(tmp_path, alone):
    train_some(tmp_path, population(), [])
    for resume in (True, False):
        config = population()
        config.checkpoint.resume = resume
        with pytest.raises(UserError, match='--workdir: workers share .*; add --worker'):
            train_and_evaluate(config, str(tmp_path))
    folder = shutil.copytree(alone(population), tmp_path / 'alone')
    with pytest.raises(UserError, match='holds a run of a single process .checkpoints, '):
        train_share(population(), str(folder), Worker(0, 3))
    assert not (folder / 'shared.json').exists()


def test_a_drive_without_locks_is_refused(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise NotImplementedError

    monkeypatch.setattr(workdirs.filelock, 'FileLock', fail)
    with pytest.raises(UserError, match='files cannot be locked in .*NFS 4'):
        train_share(population(), str(tmp_path), Worker(0, 3))


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--worker=1', '--num_workers=2', '--gather'), '--gather: it does not go with'),
        (('--worker=1', '--num_workers=2', '--profile=1'), '--profile: it does not go wi'),
        (('--gather', '--distributed'), '--distributed: it does not go with --gather'),
        (('--num_workers=2',), '--worker is missing; give it with --num_workers'),
        (('--launched',), '--worker is missing; give it with --launched'),
        (
            ('--worker=0', '--num_workers=2', '--launched', '--workdir=/nowhere'),
            '--workdir: no workers share /nowhere',
        ),
        (('--worker=0', '--num_workers=2'), '--workdir is missing; with --worker name '),
        (('--unfinished',), '--unfinished: it goes with --gather only'),
        (('--worker=2', '--num_workers=2'), '--worker: found 2; allowed: 0 to 1'),
        (('--worker=1', '--num_workers=2', '--workdir=s3://b/x'), '--workdir: '),
    ],
)
def test_flags_that_do_not_fit_are_one_line(command, flags, message):
    process = command('-m', 'mnist_flax.main', *flags, JAX_PLATFORMS='none')
    assert process.returncode in (1, 2)
    assert process.stderr.startswith(f'error: {message}')
    assert process.stderr.count('\n') == 1
