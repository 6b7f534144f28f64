"""From a sweep to plans: its runs, what shares a program, and what is refused."""

import itertools

import pytest
from ml_collections import ConfigDict
from short_configs import short, swept

from configs import accurate, default
from mnist_flax.common.errors import UserError
from mnist_flax.training.plan import describe, make_plan, make_plans


@pytest.fixture(scope='module')
def dataset():
    return make_plan(short()).dataset


def test_a_sweep_is_the_grid_of_all_values_with_all_seeds(dataset):
    config = swept(
        accurate.get_config(),
        {'model.dropout_rate': (0.0, 0.5), 'loss.label_smoothing': (0.0, 0.1)},
    )
    config.runs = 2
    plan = make_plan(config, dataset)
    found = [(*run.swept.values(), run.seed) for run in plan.runs]
    assert found == [(s, d, i) for s in (0.0, 0.1) for d in (0.0, 0.5) for i in (0, 1)]
    assert [run.position for run in plan.runs] == list(range(8))
    for run in plan.runs:
        assert run.hyperparams | run.swept == run.hyperparams
        assert set(run.hyperparams) == {
            'optimizer.learning_rate', 'augment.strength', *run.swept
        }  # fmt: skip
    # The values are no part of the program.
    other = swept(
        accurate.get_config(),
        {'model.dropout_rate': (0.1,), 'loss.label_smoothing': (0.0, 0.4)},
    )
    assert plan.recipe == make_plan(other, dataset).recipe


@pytest.mark.parametrize(
    ('values', 'num_programs'),
    [
        # Numbers of floating point that a part of the recipe takes as traced ones.
        ({'optimizer.learning_rate': (1e-3, 3e-3)}, 1),
        ({'optimizer.b1': (0.9, 0.95), 'loss.label_smoothing': (0.0, 0.1)}, 1),
        ({'optimizer.learning_rate': (1, 1e-3)}, 1),
        # All else is compiled in.
        ({'optimizer.clip_norm': (0.0, 1.0)}, 2),
        ({'model.features': ((4, 8), (16,))}, 2),
        ({'batch_size': (50, 100), 'optimizer.learning_rate': (1e-3, 3e-3)}, 2),
        ({'schedule.constructor': ('cosine', 'constant')}, 2),
        ({'dataset.train_split': ('train[100:300]', 'train[:300]')}, 2),
    ],
)
def test_what_can_be_traced_shares_a_program(values, num_programs):
    config = swept(default.get_config(), values, runs=2)
    plans = make_plans(config)
    assert len(plans) == num_programs
    runs = [run for plan in plans for run in plan.runs]
    assert [run.position for run in runs] == list(range(len(runs)))
    found = [tuple(run.swept[path] for path in values) for run in runs]
    wanted = list(itertools.product(*values.values()))
    assert sorted(found) == sorted(wanted * 2)
    # The seeds of a combination are side by side, and each plan is as its runs say.
    assert [run.seed for run in runs] == [0, 1] * len(wanted)
    for plan in plans:
        for run in plan.runs:
            for path, value in run.swept.items():
                if path in run.hyperparams:
                    assert run.hyperparams[path] == value
                elif not path.startswith('optimizer.'):
                    of = plan.settings
                    for name in path.split('.'):
                        of = getattr(of, name)
                    assert of == value


def get_sweep(lowest: float = 1e-4):
    """As in a file of a user's own."""
    for rate in (lowest, 10 * lowest):
        yield {'optimizer.learning_rate': rate, 'model': {'hidden_size': 8}}


def get_nothing():
    return [{}]


def test_a_sweep_can_come_from_a_function(dataset):
    own = {'constructor': 'test_swept_plan.get_sweep', 'lowest': 1e-2}
    config = swept(default.get_config(), own)
    plans = make_plans(config, dataset)
    ((first, second),) = [plan.runs for plan in plans]
    assert [first.hyperparams, second.hyperparams] == [
        {'optimizer.learning_rate': rate} for rate in (1e-2, 1e-1)
    ]
    assert plans[0].recipe.model.hidden_size == 8
    assert plans[0].recipe.model.features == (32, 64)
    # What it has returned is compared when the runs are resumed.
    listed = describe(config, plans)['sweep']['points']
    assert listed == [first.swept, second.swept]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'momentum': (0.9,)}, '.momentum: this config has no field config.momentum'),
        ({'augment.own.x': (1,)}, '.augment.own.x: this config has no field config.augm'),
        ({'model.dropout_rate': (0.1, 0.1)}, '.model.dropout_rate: (0.1, 0.1) has a valu'),
        ({'model.dropout_rate': ()}, '.model.dropout_rate: found (); allowed: a tuple'),
        ({'optimizer.learning_rate': 0.1}, '.optimizer.learning_rate: found 0.1; allowed'),
        ({'learning_rate': (0.1,)}, '.learning_rate was replaced; use config.sweep.optim'),
        ({'seed': (1, 2)}, '.seed: this field must be the same for all runs of a sweep'),
        ({'dataset.holdout_size': (1, 2)}, '.dataset.holdout_size: this field must be'),
        ({'checkpoint.every': (1, 2)}, '.checkpoint.every: this field must be the same'),
        ({'constructor': 'test_swept_plan.no'}, ".constructor: found 'test_swept_plan.no'"),
        (
            {'constructor': 'test_swept_plan.get_nothing'},
            '.constructor: test_swept_plan.get_nothing must return a list',
        ),
        (
            {'dataset.train_split': ('train[:300]', 'train[:200]')},
            ': it changes which images are held out; take train_split and holdout_size so',
        ),
    ],
)
def test_bad_sweeps_are_named(values, message):
    with pytest.raises(UserError) as caught:
        make_plans(swept(default.get_config(), values))
    assert str(caught.value).startswith(f'config.sweep{message}')


def test_the_swept_values_are_checked_as_those_of_the_config(dataset):
    config = swept(default.get_config(), {'model.dropout_rate': (0.1, 1.0)})
    with pytest.raises(UserError, match=r'config.model.dropout_rate: found 1.0; allowed'):
        make_plans(config, dataset)


def test_what_a_sweep_has_instead_of_a_model_is_named(dataset):
    with pytest.raises(UserError, match=r'^config.model: found 3; allowed: '):
        make_plans(swept(default.get_config(), {'model': (3, 4)}), dataset)


def test_a_sweep_is_not_compared_on_the_test_set(dataset):
    config = short()
    config.sweep.optimizer = ConfigDict({'learning_rate': (1e-3, 3e-3)})
    with pytest.raises(UserError, match='config.sweep: .* --config.dataset.validation=hol'):
        make_plans(config, dataset)


def test_strength_cannot_be_swept_without_an_augmentation(dataset):
    config = swept(default.get_config(), {'augment.strength': (0.5, 1.0)})
    with pytest.raises(UserError, match='augment.strength: there is no augmentation'):
        make_plans(config, dataset)
