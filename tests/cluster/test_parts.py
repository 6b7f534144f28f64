"""Runs that several processes train give the report of a single one."""

import contextlib
import json
import shutil
import subprocess
import sys
import time

import pytest
from repository import ROOT
from small_configs import read_lines, small

from mnist_flax.cluster import parts
from mnist_flax.cluster.worker import Worker
from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import population, snapshots


def population_of_five():
    """Three groups: of two, two and one."""
    config = small(runs=5, log_every_steps=2)
    config.runs_at_once = 2
    return config


def sweep_of_programs():
    """Three programs, of two groups each."""
    config = small(runs=3)
    config.runs_at_once = 2
    config.dataset.update({'validation': 'holdout', 'holdout_size': 100})
    config.sweep.batch_size = (20, 25, 50)
    return config


def read_report(folder):
    """What is the same for all who have trained the runs."""
    numbers = json.loads((folder / 'metrics.json').read_text())
    numbers = {name: of for name, of in numbers.items() if 'second' not in name}
    return numbers, (folder / 'history.csv').read_text(), read_lines(folder)


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


def without_figures(patch):
    from mnist_flax.reporting import reports

    patch.setattr(reports, 'render_figures', lambda dataset, results: {})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    without_figures(monkeypatch)


@pytest.mark.parametrize('make_config', [population_of_five, sweep_of_programs])
@pytest.mark.parametrize(
    'order',
    [
        (2, 0, 1),
        pytest.param((0,), marks=pytest.mark.slow),
        pytest.param((6, 5, 4, 3, 2, 1, 0), marks=pytest.mark.slow),  # some have nothing
    ],
)
def test_any_number_of_workers_in_any_order_give_the_same_report(
    tmp_path, alone, make_config, order
):
    reports = [
        parts.train_part(make_config(), str(tmp_path), Worker(number, len(order)))
        for number in order
    ]
    assert reports[-1] is not None
    assert not reports[0] or len(order) == 1
    assert read_report(tmp_path) == read_report(alone(make_config))


def test_what_is_missing_is_named_and_can_be_left_out(tmp_path, alone, capsys):
    parts.train_part(population_of_five(), str(tmp_path), Worker(1, 3))
    assert 'not finished yet: runs 1 to 2 (not begun), run 5 (not begun)' in (
        capsys.readouterr().out
    )
    shutil.rmtree(tmp_path / 'checkpoints/runs_0-1', ignore_errors=True)
    with pytest.raises(
        UserError, match=r'not finished in .*: runs 1 to 2 \(not begun\), r'
    ):
        parts.gather(population_of_five(), str(tmp_path))
    assert not (tmp_path / 'metrics.json').exists()
    result = parts.gather(population_of_five(), str(tmp_path), only_finished=True)
    assert [run.plan.seed for run in result.runs] == [2, 3]
    for number in (0, 2):
        parts.train_part(population_of_five(), str(tmp_path), Worker(number, 3))
    assert read_report(tmp_path) == read_report(alone(population_of_five))


def test_a_finished_group_is_not_trained_again(tmp_path, monkeypatch):
    parts.train_part(population_of_five(), str(tmp_path), Worker(0, 2))

    def fail(*arguments, **options):
        raise AssertionError('trained again')

    monkeypatch.setattr(population, 'train_epoch', fail)
    assert parts.train_part(population_of_five(), str(tmp_path), Worker(0, 2)) is None


def test_two_workers_of_one_number_do_not_write_into_the_same_files(tmp_path):
    parts.train_part(population_of_five(), str(tmp_path), Worker(0, 3))
    plans, _, (store,) = parts._open(population_of_five(), str(tmp_path))
    with store.hold(range(2, 4)), pytest.raises(UserError) as caught:
        parts.train_part(population_of_five(), str(tmp_path), Worker(1, 3))
    assert 'another process is working in' in str(caught.value)
    assert 'runs_2-3' in str(caught.value)
    assert len(plans) == 1


def test_other_settings_and_other_groups_are_refused(tmp_path):
    parts.train_part(population_of_five(), str(tmp_path), Worker(0, 3))
    config = population_of_five()
    config.batch_size = 25
    with pytest.raises(UserError, match=r'with other settings \(batch_size\)'):
        parts.train_part(config, str(tmp_path), Worker(1, 3))
    config = population_of_five()
    config.checkpoint.resume = False
    with pytest.raises(UserError, match='config.checkpoint.resume: found False'):
        parts.train_part(config, str(tmp_path), Worker(1, 3))
    for damaged in ('[[0, 2]]', '[[0, 5], [4, 5]]', '3', ''):
        (tmp_path / 'checkpoints/groups_from_0.json').write_text(damaged)
        with pytest.raises(UserError, match='--workdir: '):
            parts.train_part(population_of_five(), str(tmp_path), Worker(1, 3))


def test_groups_are_those_of_who_came_first(tmp_path):
    parts.train_part(population_of_five(), str(tmp_path), Worker(0, 3))
    config = population_of_five()
    config.runs_at_once = 3  # as on a larger machine
    parts.train_part(config, str(tmp_path), Worker(1, 3))
    found = [path.name for path in snapshots.list_groups(tmp_path / 'checkpoints')]
    assert found == ['runs_0-1', 'runs_2-3']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--worker=1', '--num_workers=2', '--gather'), '--gather: it does not go with'),
        (('--worker=1', '--num_workers=2', '--profile=1'), '--profile: it does not go wi'),
        (('--gather', '--distributed'), '--distributed: it does not go with --gather'),
        (('--num_workers=2',), '--worker is missing; give it with --num_workers'),
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


@pytest.mark.slow
def test_workers_that_are_killed_are_started_again(tmp_path, command):
    settings = (
        '-m', 'mnist_flax.main', '--config.runs=6', '--config.num_epochs=15',
        '--config.dataset.train_split=train[:2000]', '--config.model.conv=xla',
        '--config.model.features=(4,8)', '--config.dataset.test_split=test[:300]',
    )  # fmt: skip

    def start(number):
        flags = (f'--worker={number}', '--num_workers=3', f'--workdir={tmp_path}/shared')
        return subprocess.Popen(
            [sys.executable, *settings, *flags], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    groups = [tmp_path / f'shared/checkpoints/runs_{i}-{i + 1}' for i in (0, 2, 4)]
    workers = {number: start(number) for number in range(3)}
    running = dict(workers)
    end = time.monotonic() + 400
    while running:  # each is killed once, when it has saved something
        assert time.monotonic() < end
        for number, process in [*running.items()]:
            with contextlib.suppress(FileNotFoundError):
                if any(path.name.isdecimal() for path in groups[number].iterdir()):
                    process.kill()
                    process.communicate()
                    del running[number]
        time.sleep(0.01)
    assert not any((group / 'finished').exists() for group in groups)
    workers = [start(number) for number in range(3)]
    printed = [process.communicate(timeout=400) for process in workers]
    assert [errors for _, errors in printed] == [''] * 3
    assert all('were done before' in out for out, _ in printed)
    assert sum('written to ' in out for out, _ in printed) >= 1
    whole = command(*settings, f'--workdir={tmp_path}/whole')
    assert whole.returncode == 0
    for name in ('history.csv', 'sample_predictions.png'):
        found, expected = (tmp_path / of / name for of in ('shared', 'whole'))
        assert found.read_bytes() == expected.read_bytes()
