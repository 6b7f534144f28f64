"""Sweeps: what they share, what they compare, and that they continue."""

import csv
import json

import numpy as np
import pytest
from small_configs import SGD, part, small, sweep_of

from mnist_flax.common.errors import UserError
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate
from mnist_flax.training.plan import make_plans


def test_a_sweep_that_would_choose_on_the_test_set_is_refused():
    sweep = {'optimizer': {'learning_rate': (1e-3, 1e-2)}}
    with pytest.raises(UserError, match=r'add --config\.dataset\.validation=holdout'):
        make_plans(small(sweep=sweep))


@pytest.mark.parametrize(
    ('loss', 'optimizer', 'sweep', 'num_programs'),
    [
        (part('power', exponent=1.0), SGD, {'loss': {'exponent': (0.5, 1)}}, 1),
        (part('branching', exponent=1.0), SGD, {'loss': {'exponent': (0.5, 1.0)}}, 2),
        (part('power', exponent=1.0), SGD, {'optimizer': {'decay': (0.0, 0.9)}}, 1),
        (
            part('power', exponent=1.0),
            part('fixed', learning_rate=0.1, decay=0.5),
            {'optimizer': {'decay': (0.0, 0.9)}},
            2,
        ),
        (
            part('power', exponent=1.0),
            SGD,
            {'optimizer': {'learning_rate': (0.1, 0.2)}, 'model': {'width': (4, 8, 16)}},
            3,
        ),
        (part('power', exponent=1.0), SGD, part('two_points'), 2),
        (part('power', exponent=1.0), SGD, part('of_numpy'), 1),
    ],
)
def test_a_sweep_makes_a_program_only_for_what_is_compiled_in(
    loss, optimizer, sweep, num_programs
):
    plans = make_plans(sweep_of(loss=loss, optimizer=optimizer, sweep=sweep, runs=2))
    assert len(plans) == num_programs
    positions = [run.position for plan in plans for run in plan.runs]
    assert positions == list(range(len(positions)))


def test_a_rate_that_one_of_two_models_keeps_for_itself_acts_in_both():
    model = part('Dropping', dropout_rate=0.5)
    names = tuple(f'research_parts.{name}' for name in ('Dropping', 'Keeping'))
    sweep = {'model': {'constructor': names, 'dropout_rate': (0.0, 0.9)}}
    plans = make_plans(sweep_of(model=model, sweep=sweep))
    found = [[run.swept['model.dropout_rate'] for run in plan.runs] for plan in plans]
    assert found == [[0.0, 0.9], [0.0], [0.9]]
    assert [plan.recipe.model.dropout_rate for plan in plans[1:]] == [0.0, 0.9]


@pytest.mark.slow
def test_numbers_of_a_sweep_act_as_they_do_alone():
    """Those that share a program as well as those that do not."""
    sweep = {'optimizer': {'decay': (0.0, 0.9)}, 'model': {'width': (4, 8)}}
    loss = part('power', exponent=1.0)
    config = sweep_of(loss=loss, optimizer=SGD, sweep=sweep)
    swept = train_and_evaluate(config).runs
    assert len(swept) == 4
    for run in swept:
        alone = sweep_of(loss=loss, optimizer=SGD)
        alone.optimizer.decay = run.plan.swept['optimizer.decay']
        alone.model.width = run.plan.swept['model.width']
        (only,) = train_and_evaluate(alone).runs
        np.testing.assert_allclose(run.logits, only.logits, rtol=1e-4, atol=1e-5)


def test_a_sweep_shows_test_scores_of_its_choice_alone(tmp_path):
    sweep = {'optimizer': {'learning_rate': (1e-6, 1e-1)}, 'model': {'width': (8, 16)}}
    config = sweep_of(sweep=sweep, runs=3)
    train_and_evaluate(config, str(tmp_path))
    numbers = json.loads((tmp_path / 'metrics.json').read_text())
    chosen = numbers['chosen']['values']
    assert chosen['optimizer.learning_rate'] == 0.1
    assert [point['verdict'] for point in numbers['points']].count('best') == 1
    assert not any('test' in name for point in numbers['points'] for name in point)
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3
    for row in rows:
        is_chosen = all(row[name] == str(value) for name, value in chosen.items())
        assert bool(row['test_accuracy']) == is_chosen
    assert len((tmp_path / 'metrics.txt').read_text().splitlines()) < 45
    assert (tmp_path / 'sweep.png').exists()


@pytest.mark.slow
@pytest.mark.usefixtures('without_figures')
def test_an_interrupted_sweep_continues_with_the_programs_that_are_left(tmp_path):
    config = sweep_of(sweep={'model': {'width': (4, 8)}}, runs=2)
    expected = train_and_evaluate(config, str(tmp_path / 'whole')).runs
    train_and_evaluate(config, str(tmp_path / 'part'))
    for path in (tmp_path / 'part/checkpoints').glob('runs_[2-3]-*'):
        path.rename(tmp_path / path.name)
    runs = train_and_evaluate(config, str(tmp_path / 'part')).runs
    for ours, theirs in zip(runs, expected, strict=True):
        np.testing.assert_array_equal(ours.logits, theirs.logits)


@pytest.mark.slow
@pytest.mark.usefixtures('without_figures')
def test_models_that_are_swept_over_leave_their_number_of_classes_to_the_data(tmp_path):
    models = tuple(part('Wide', width=width, num_classes=0) for width in (4, 8))
    train_and_evaluate(sweep_of(sweep={'model': models}), str(tmp_path))
    # As does the one that was chosen, whose networks are kept.
    networks = load_networks(tmp_path, 'research_parts.Wide')
    assert networks.model.num_classes == 10


@pytest.mark.usefixtures('without_figures')
def test_a_sweep_of_losses_has_the_same_columns_for_all(tmp_path):
    sweep = {'loss': {'constructor': ('cross_entropy', 'focal')}}
    train_and_evaluate(sweep_of(sweep=sweep), str(tmp_path))
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {row['loss.constructor']: bool(row['train_objective']) for row in rows} == {
        'cross_entropy': False,
        'focal': True,
    }
    assert all(float(row['train_seconds']) > 0 for row in rows)


def test_a_sweep_of_one_value_is_no_sweep(tmp_path):
    config = small(sweep={'optimizer': {'learning_rate': (1e-2,)}}, runs=2)
    metrics = train_and_evaluate(config, str(tmp_path)).metrics
    assert metrics['test_accuracy']['mean'] > 0
    assert 'points' not in metrics
    assert not (tmp_path / 'sweep.png').exists()
