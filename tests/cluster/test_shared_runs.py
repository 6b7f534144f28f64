"""Runs that several workers train give the report of a single process."""

import json

import pytest
import shared_configs
from shared_configs import (
    GROUPS,
    gather,
    population,
    read_report,
    sweep,
    train_share,
    train_some,
)
from small_configs import part

from mnist_flax.cluster import jobs, working
from mnist_flax.cluster.shared_ablations import Ablation
from mnist_flax.cluster.shared_runs import Runs
from mnist_flax.common.errors import UserError
from mnist_flax.common.worker import Worker
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate


@pytest.mark.parametrize(
    'make_config', [population, pytest.param(sweep, marks=pytest.mark.slow)]
)
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


def test_groups_are_those_of_who_came_first(tmp_path):
    train_some(tmp_path, population(), [])
    path = tmp_path / 'shared.json'
    text = path.read_text().replace('"runs_0-1", "runs_2-3", "runs_4-4"', '"runs_0-4"')
    path.write_text(text)
    train_share(population(), str(tmp_path), Worker(1, 3))
    assert [of.name for of in (tmp_path / 'finished').iterdir()] == ['runs_0-4']
    assert len((tmp_path / 'runs.csv').read_text().splitlines()) == 6


def test_a_file_that_a_writer_leaves_for_each_group_is_named(tmp_path, capsys):
    config = population()
    config.writers = {'own': part('Numbers')}
    train_share(config, str(tmp_path), Worker(0, 3))
    assert (
        'warning: a writer has left numbers.csv for each group' in capsys.readouterr().err
    )
    assert not (tmp_path / 'numbers.csv').exists()
    assert (tmp_path / 'finished/runs_4-4/numbers.csv').exists()


@pytest.mark.slow
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


@pytest.mark.slow
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
