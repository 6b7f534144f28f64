"""Runs that several workers train give the report of a single process."""

import fcntl
import json
import shutil
import time

import jax
import pytest
import shared_configs
from shared_configs import population, read_report, sweep
from small_configs import part

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.cluster import jobs, shared_workdirs, status, working
from mnist_flax.cluster.shared_ablations import Ablation
from mnist_flax.cluster.shared_runs import Runs
from mnist_flax.cluster.shared_workdirs import SharedWorkdir
from mnist_flax.common.errors import UserError
from mnist_flax.common.worker import Worker
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import population as programs
from mnist_flax.training.progress import Progress
from mnist_flax.training.trainer import Trainer

GROUPS = ['runs_0-1', 'runs_2-3', 'runs_4-4']


def train_share(config, folder, worker):
    return jobs.train(Runs(config), folder, worker)


def gather(config, folder, only_finished=False):
    return jobs.gather(Runs(config), folder, only_finished)


def without_figures(patch):
    from mnist_flax.reporting import reports

    patch.setattr(reports, 'render_figures', lambda dataset, results: {})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    without_figures(monkeypatch)
    monkeypatch.setattr(working, '_PAUSE_SECONDS', 0.0)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """A workdir of one process, by the function that makes the config."""
    made = {}

    def train(make_config):
        if make_config not in made:
            made[make_config] = tmp_path_factory.mktemp('alone')
            with pytest.MonkeyPatch.context() as patch:
                without_figures(patch)
                train_and_evaluate(make_config(), str(made[make_config]))
        return made[make_config]

    return train


def train_some(folder, config, names, number=0):
    """A worker that has time for these groups only."""
    with pytest.MonkeyPatch.context() as patch:
        hold = SharedWorkdir.hold
        skip = shared_workdirs.contextlib.nullcontext
        patch.setattr(
            SharedWorkdir,
            'hold',
            lambda self, name, *is_again: (
                hold(self, name, *is_again) if name in names else skip()
            ),
        )
        return train_share(config, str(folder), Worker(number, 3))


@pytest.mark.parametrize('make_config', [population, sweep])
def test_workers_in_any_order_give_the_report_of_one_process(tmp_path, alone, make_config):
    names = working.name_groups(Runs(make_config()).plan(), '')
    order = names[::-1]
    for name in order[:-1]:
        assert train_some(tmp_path, make_config(), [name]) is None
        assert not (tmp_path / 'metrics.json').exists()
    result = train_some(tmp_path, make_config(), order[-1:])
    assert len(result.runs) == sum(len(of.plan.runs) for of in Runs(make_config()).plan())
    assert read_report(tmp_path) == read_report(alone(make_config))
    paths = [str(tmp_path), str(alone(make_config))]
    ours, theirs = (load_networks(of, 'research_parts.Small') for of in paths)
    assert str(ours.variables) == str(theirs.variables)


def test_a_single_worker_trains_all_and_gathering_again_changes_nothing(tmp_path, alone):
    train_share(population(), str(tmp_path), Worker(2, 3))
    expected = read_report(alone(population))
    assert read_report(tmp_path) == expected
    assert sorted(of.name for of in (tmp_path / 'finished').iterdir()) == GROUPS
    (tmp_path / 'metrics.jsonl').write_text('torn')
    gather(population(), str(tmp_path))
    assert read_report(tmp_path) == expected


def test_what_is_missing_is_named_and_can_be_left_out(tmp_path, alone, capsys):
    train_some(tmp_path, population(), GROUPS[1:2])
    missing = r'runs_0-1 \(not begun\), runs_4-4 \(not begun\)'
    assert 'not finished: runs_0-1 (not begun), runs_4-4 (no' in capsys.readouterr().out
    with pytest.raises(UserError, match=f'--gather: not finished in .*: {missing}'):
        gather(population(), str(tmp_path))
    assert not (tmp_path / 'metrics.json').exists()
    result = gather(population(), str(tmp_path), only_finished=True)
    assert [run.plan.seed for run in result.runs] == [2, 3]
    # The report of these is not taken for that of all.
    train_some(tmp_path, population(), GROUPS)
    assert read_report(tmp_path) == read_report(alone(population))


def test_nothing_finished_is_no_report(tmp_path):
    train_some(tmp_path, population(), [])
    with pytest.raises(UserError, match='--gather: no group in .* is finished yet'):
        gather(population(), str(tmp_path), only_finished=True)
    with pytest.raises(UserError, match='no workers share .*it has no shared.json'):
        gather(population(), str(tmp_path / 'other'))


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
        (MemoryError(), 'MemoryError'),
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


def test_runs_that_diverge_are_reported_as_by_one_process(tmp_path):
    def make_config():
        config = population()
        config.sweep.optimizer = {'learning_rate': (1e-3, 1e30)}
        config.dataset.update({'validation': 'holdout', 'holdout_size': 100})
        config.runs = 2
        return config

    train_share(make_config(), str(tmp_path / 'shared'), Worker(0, 3))
    train_and_evaluate(make_config(), str(tmp_path / 'alone'))
    found, expected = (read_report(tmp_path / of) for of in ('shared', 'alone'))
    assert str(found) == str(expected)  # with numbers that are none
    assert '"num_diverged": 2' in (tmp_path / 'shared/metrics.json').read_text()


@pytest.mark.slow
def test_what_evaluators_and_writers_leave_is_brought_together(tmp_path):
    def make_config():
        config = population()
        config.evaluators.sure = {'constructor': 'calibration', 'figure': True}
        config.writers.tensorboard = {'constructor': 'tensorboard'}
        return config

    train_share(make_config(), str(tmp_path / 'shared'), Worker(1, 3))
    train_and_evaluate(make_config(), str(tmp_path / 'alone'))
    for folder in ('figures', 'tensorboard'):
        found, expected = (
            sorted(
                path.relative_to(tmp_path / of).parent / path.name.split('.')[0]
                for path in (tmp_path / of / folder).rglob('*')
            )
            for of in ('shared', 'alone')
        )
        assert found == expected
        assert found


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


def test_workers_on_other_machines_are_told_of_in_the_report(tmp_path, capsys):
    train_some(tmp_path, population(), GROUPS[:2])
    path = tmp_path / 'finished/runs_2-3/about.json'
    about = json.loads(path.read_text())
    about['environment']['device'] = 'NVIDIA H100'
    about['environment']['versions']['jax'] = '0.1'
    path.write_text(json.dumps(about))
    result = gather(population(), str(tmp_path), only_finished=True)
    assert result.metrics['device'].endswith(' cores and NVIDIA H100')
    warning = 'warning: 1 groups, such as runs_2-3, were trained with other versions of '
    assert capsys.readouterr().err.startswith(warning)


def test_results_without_their_settings_are_not_taken(tmp_path):
    train_some(tmp_path, population(), GROUPS[:1])
    (tmp_path / 'shared.json').unlink()
    config = population()
    config.optimizer.learning_rate = 0.1
    with pytest.raises(UserError, match='holds groups of workers, and no shared.json'):
        train_share(config, str(tmp_path), Worker(0, 3))


def test_groups_are_those_of_who_came_first(tmp_path):
    train_some(tmp_path, population(), [])
    path = tmp_path / 'shared.json'
    text = path.read_text().replace('"runs_0-1", "runs_2-3", "runs_4-4"', '"runs_0-4"')
    path.write_text(text)
    train_share(population(), str(tmp_path), Worker(1, 3))
    assert [of.name for of in (tmp_path / 'finished').iterdir()] == ['runs_0-4']
    assert len((tmp_path / 'runs.csv').read_text().splitlines()) == 6


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


def test_results_of_an_earlier_workdir_are_not_taken(tmp_path):
    train_some(tmp_path / 'one', population(), GROUPS[:1])
    train_some(tmp_path / 'other', population(), GROUPS[1:2])
    moved = tmp_path / 'other/finished/runs_0-1'
    (tmp_path / 'one/finished/runs_0-1').rename(moved)
    with pytest.raises(UserError, match='runs_0-1 was trained for another shared.json'):
        gather(population(), str(tmp_path / 'other'), only_finished=True)


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


def test_a_file_that_a_writer_leaves_for_each_group_is_named(tmp_path, capsys):
    config = population()
    config.writers = {'own': part('Numbers')}
    train_share(config, str(tmp_path), Worker(0, 3))
    assert (
        'warning: a writer has left numbers.csv for each group' in capsys.readouterr().err
    )
    assert not (tmp_path / 'numbers.csv').exists()
    assert (tmp_path / 'finished/runs_4-4/numbers.csv').exists()


def test_gathering_needs_no_devices(tmp_path, command):
    """Which the machines of the workers have, and not the one that gathers."""
    flags = ('-m', 'mnist_flax.main', '--config.num_devices=64', '--config.runs_at_once=1')
    launch = 'from mnist_flax.cluster import jobs, shared_runs\n'
    launch += 'from configs import default\nc = default.get_config()\n'
    launch += 'c.num_devices, c.runs_at_once = 64, 1\n'
    launch += 'job = shared_runs.Runs(c)\njobs.imitate_devices(job)\n'
    launch += f'jobs.make(job, {str(tmp_path)!r})'
    made = command('-c', launch)
    assert (made.returncode, made.stderr) == (0, '')
    gathered = command(*flags, '--gather', f'--workdir={tmp_path}')
    assert gathered.stderr.startswith('error: --gather: not finished in ')


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


def test_an_ablation_is_that_of_one_process(tmp_path, capsys):
    from mnist_flax.ablation.ablation import ablate

    config, folder = shared_configs.ablation(), str(tmp_path / 'shared')
    job = Ablation(config, 3)
    assert jobs.make(job, folder).names == [
        f'{variant}/{runs}'
        for variant in ('recipe', 'ema', 'small_batch')
        for runs in ('runs_0-1', 'runs_2-2')
    ]
    with pytest.raises(UserError, match='no run of the recipe|no group in'):
        jobs.gather(job, folder, only_finished=True)
    table = jobs.train(job, folder, Worker(2, 3))
    assert table
    expected = ablate(config, str(tmp_path / 'alone'), 3)
    folders = [tmp_path / 'shared', tmp_path / 'alone']
    ours, theirs = map(shared_configs.read_table, folders)
    assert ours == theirs
    assert len(ours) == 10
    assert jobs.train(job, folder, Worker(0, 3)) is None
    assert 'all is done; the report is in ' in capsys.readouterr().out
    assert jobs.gather(job, folder) == table
    path = tmp_path / 'shared/finished/ema/runs_0-1/rows.csv'
    for damaged in (b'', b'\xff', path.read_bytes().rpartition(b'ema')[0]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match='rows.csv'):
            jobs.gather(job, folder)
    assert table.splitlines()[0] == expected.splitlines()[0]
    config.variants = {'source': {'batch_size': 25}}
    with pytest.raises(UserError, match=r'other settings \(variant source, variant ema, '):
        jobs.train(Ablation(config, 3), folder, Worker(0, 3))
    with pytest.raises(UserError, match='--workdir: workers share '):
        ablate(config, str(tmp_path / 'shared'), 3)
    with pytest.raises(UserError, match=r'with other settings \(.*--seeds, '):
        jobs.train(Ablation(config, 4), folder, Worker(0, 3))
