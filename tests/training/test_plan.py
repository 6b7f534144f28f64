import dataclasses
import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs import accurate, default
from mnist_flax.common.errors import UserError
from mnist_flax.training.plan import describe, make_plan, make_plans


def short(config=None):
    config = config or default.get_config()
    config.dataset.update({'train_split': 'train[:300]', 'test_split': 'test[:50]'})
    return config


@pytest.fixture(scope='module')
def dataset():
    return make_plan(short()).dataset


def test_the_default_is_one_run_with_nothing_but_a_learning_rate(dataset):
    plan = make_plan(short(), dataset)
    (only,) = plan.runs
    assert only == (0, 0, {}, {'optimizer.learning_rate': 1e-3})
    assert plan.recipe.augment is None
    assert plan.recipe.optimizer.num_steps == 10 * 3


def test_a_population_has_consecutive_seeds(dataset):
    config = short()
    config.update({'seed': 5, 'runs': 3})
    assert [run.seed for run in make_plan(config, dataset).runs] == [5, 6, 7]
    assert [run.seed for run in make_plan(config, dataset, [9, 2]).runs] == [9, 2]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'runs': 10_001}, 'config.runs: found 10001; allowed: 1 to 10000'),
        (
            {'runs': 200, 'sweep.optimizer.learning_rate': tuple(range(1, 52))},
            'config.sweep: found 10200 runs, 51 combinations with 200 seeds; allowed: up',
        ),
        (
            {'model.hidden_size': 10**9},
            'config.model: 1,611,000,018,826 parameters take 24,005.8 GiB with',
        ),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_tried(dataset, changes, message):
    config = short()
    for path, value in changes.items():
        change(config, path, value)
    with pytest.raises(UserError) as info:
        make_plan(config, dataset)
    assert str(info.value).startswith(message)


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


def swept(config, values, **fields):
    """Returns a short config with a sweep."""
    config = short(config)
    config.dataset.update(validation='holdout', holdout_size=20)
    sweep = config.sweep
    for path, of in values.items():
        change(sweep, path, of)
    config.update(fields)
    return config


def change(config, path, value):
    *parents, field = path.split('.')
    for parent in parents:
        if parent not in config:
            with config.unlocked():
                config[parent] = ConfigDict()
        config = config[parent]
    with config.unlocked(), config.ignore_type():
        config[field] = value


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
    own = {'constructor': 'test_plan.get_sweep', 'lowest': 1e-2}
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
    ('path', 'value', 'message'),
    [
        ('runs', 0, 'config.runs: found 0; allowed: 1 to 10000'),
        ('runs_at_once', -1, 'config.runs_at_once: found -1; allowed: 0 or more'),
        ('seed', 2**32 - 1, None),
        ('loss.label_smoothing', 1.0, 'config.loss.label_smoothing: found 1.0; allowed: 0'),
        ('label_smoothing', 0.1, 'label_smoothing was replaced; use config.loss.label_sm'),
        ('loss.smoothing', 0.1, "config.loss has no field 'smoothing'; its fields are lab"),
        ('ema_decay', -0.5, 'config.ema_decay: found -0.5; allowed: 0 to less than 1'),
        ('ema_decay', float('nan'), 'config.ema_decay: found nan; allowed: 0 to less'),
        ('num_epochs', 0, 'config.num_epochs: found 0; allowed: 1 or more'),
        ('batch_size', 301, 'config.batch_size: found 301; allowed: 1 to 300'),
        ('matmul_precision', 'low', "allowed: 'float32', 'tensorfloat32'"),
        ('model.features', (3, 'a'), 'allowed: tuple[int, ...]'),
        ('model.dtype', 'float16', "allowed: 'float32', 'bfloat16'"),
        ('optimizer.constructor', 'adm', "optimizer.constructor: found 'adm' (Attribute"),
        ('optimizer.name', 'adam', 'optimizer.name was replaced; use config.optimizer.con'),
        ('optimizer.rate', 0.1, "config.optimizer has no field 'rate'; its fields are b1,"),
        ('metrics.norm', 3, 'config.metrics.norm: found 3; allowed: a ConfigDict with a c'),
        ('augment.strength', -1.0, 'config.augment.strength: found -1.0; allowed: 0 or'),
        ('augment.rotate', 1.0, "config.augment has no field 'rotate'; its fields are rot"),
        ('augment.constructor', 'nowhere', "config.augment.constructor: found 'nowhere'"),
        ('augment.constructor', 'os.path', "config.augment.constructor: found 'os.path'"),
        ('model.constructor', 3, 'config.model.constructor: found 3'),
        ('model.constructor', 'no.such', "found 'no.such' (ModuleNotFoundError: No "),
        ('model.constructor', 'os.such', "found 'os.such' (AttributeError: module"),
    ],
)
def test_bad_fields_are_named(dataset, path, value, message):
    config = short()
    change(config, path, value)
    if message is None:
        make_plan(config, dataset)
        return
    with pytest.raises(UserError) as caught:
        make_plan(config, dataset)
    assert message in str(caught.value)


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
        ({'constructor': 'test_plan.nothing'}, ".constructor: found 'test_plan.nothing'"),
        ({'constructor': 'test_plan.get_nothing'}, '.constructor: test_plan.get_nothing m'),
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


def test_a_sweep_is_not_compared_on_the_test_set(dataset):
    config = short()
    config.sweep.optimizer = ConfigDict({'learning_rate': (1e-3, 3e-3)})
    with pytest.raises(UserError, match='config.sweep: .* --config.dataset.validation=hol'):
        make_plans(config, dataset)


def test_seeds_beyond_32_bits_are_refused(dataset):
    config = short()
    config.update({'seed': 2**32 - 2, 'runs': 3})
    with pytest.raises(UserError, match='config.runs: found 3 from seed 4294967294 on'):
        make_plan(config, dataset)


def test_a_model_of_another_shape_is_refused(dataset):
    config = short()
    config.model.num_classes = 7
    with pytest.raises(UserError, match='config.model: the model returns float32.2, 7'):
        make_plan(config, dataset)


def test_planning_compiles_nothing(dataset, forbid_compilation):
    with forbid_compilation():
        make_plan(short(), dataset)


# --- Models and augmentations of a user's own, with the mistakes that one makes.


class Own(nn.Module):
    dropout_rate: float = 0.0
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False, dropout=None):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


class WithoutArguments(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(10)(images.reshape(len(images), -1))


class NeedsLabels(nn.Module):
    @nn.compact
    def __call__(self, images, labels):
        return nn.Dense(10)(images.reshape(len(images), -1))


class FailsInTraining(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        if train:
            raise ValueError('not today')
        return nn.Dense(10)(images.reshape(len(images), -1))


class Grows(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        seen = self.variable('memory', 'seen', jnp.zeros, (2,))
        if train:
            seen.value = jnp.zeros((3,))
        return nn.Dense(10)(images.reshape(len(images), -1))


class KeepsItsRate(Own):
    @nn.compact
    def __call__(self, images, train=False, dropout=None):
        x = nn.Dropout(self.dropout_rate)(images, deterministic=not train)
        return nn.Dense(self.num_classes)(x.reshape(len(images), -1))


class WithDropout(nn.Module):
    """As linen's own examples: it does not take `dropout`."""

    dropout_rate: float = 0.0

    @nn.compact
    def __call__(self, images, train: bool):
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(images)
        return nn.Dense(10)(x.reshape(len(images), -1))


class WithActivation(Own):
    activation: Callable = nn.relu


def create_with_lambda(dropout_rate: float):
    return WithActivation(dropout_rate, activation=lambda x: x)


class Careless(nn.Module):
    """A field that does not take part in comparisons."""

    scale: float = dataclasses.field(default=1.0, compare=False)

    @nn.compact
    def __call__(self, images):
        return nn.Dense(10)(self.scale * images.reshape(len(images), -1))


def create_noise(most: float):
    def add(key, image, strength):
        return image + strength * most * jax.random.normal(key, image.shape)

    return add


def create_nothing():
    return None


def create_crop():
    return lambda key, image, strength: image[1:]


def create_without_strength():
    return lambda key, image: image


@pytest.mark.parametrize(
    ('subtree', 'constructor', 'message'),
    [
        ('model', 'Own', None),
        ('model', 'WithoutArguments', None),
        ('model', 'NeedsLabels', 'config.model: calling it fails (TypeError: '),
        ('model', 'FailsInTraining', 'config.model, in training: calling it fails (tests'),
        ('model', 'Grows', 'config.model: training turns its collections {memory: '),
        ('model', 'create_nothing', 'config.model.constructor: it returns None; it must'),
        ('augment', 'create_nothing', None),
        ('augment', 'create_crop', 'config.augment: images have the shape (27, 2'),
        ('augment', 'create_without_strength', 'config.augment: calling it fails (TypeErr'),
    ],
)
def test_code_of_a_user_s_own_is_tried_first(dataset, subtree, constructor, message):
    config = short()
    fields = {'constructor': f'test_plan.{constructor}'}
    config[subtree] = fields | ({'strength': 1} if subtree == 'augment' else {})
    if message is None:
        make_plan(config, dataset)
        return
    with pytest.raises(UserError) as caught:
        make_plan(config, dataset)
    assert str(caught.value).startswith(message)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['KeepsItsRate', 'WithDropout'])
def test_a_model_that_keeps_its_dropout_rate_is_a_program_for_each(dataset, name):
    config = swept(default.get_config(), {'model.dropout_rate': (0.1, 0.5)})
    config.model = {'constructor': f'test_plan.{name}', 'dropout_rate': 0.0}
    plans = make_plans(config, dataset)
    assert [plan.recipe.model.dropout_rate for plan in plans] == [0.1, 0.5]
    assert plans[0].recipe != plans[1].recipe


def test_a_model_that_takes_its_dropout_rate_is_swept_even_if_no_two_are_equal(dataset):
    """Lambdas are never equal; what counts is the program."""
    config = swept(default.get_config(), {'model.dropout_rate': (0.1, 0.5)})
    config.model = {'constructor': 'test_plan.create_with_lambda', 'dropout_rate': 0.0}
    assert len(make_plan(config, dataset).runs) == 2


def test_an_augmentation_that_is_a_closure_can_be_swept(dataset):
    config = swept(default.get_config(), {'augment.strength': (0.5, 1.0)})
    config.augment = {'constructor': 'test_plan.create_noise', 'strength': 1.0, 'most': 0.1}
    strengths = [
        run.hyperparams['augment.strength'] for run in make_plan(config, dataset).runs
    ]
    assert strengths == [0.5, 1.0]


def test_recipes_of_different_configs_are_never_equal(dataset):
    """Even if the objects are: equal recipes share a compiled program."""
    plans = []
    for scale in (1.0, 2.0):
        config = short()
        config.model = {'constructor': 'test_plan.Careless', 'scale': scale}
        plans.append(make_plan(config, dataset))
    first, second = (plan.recipe for plan in plans)
    assert first.model == second.model
    assert first != second
    # Of the numbers that are traced, one program serves all.
    slower = short()
    slower.model = {'constructor': 'test_plan.Careless', 'scale': 2.0}
    slower.optimizer.learning_rate = 1e-5
    assert make_plan(slower, dataset).recipe == second


def test_strength_cannot_be_swept_without_an_augmentation(dataset):
    config = swept(default.get_config(), {'augment.strength': (0.5, 1.0)})
    with pytest.raises(UserError, match='augment.strength: there is no augmentation'):
        make_plans(config, dataset)


def test_a_config_that_could_not_be_reported_is_refused_before_training(dataset):
    config = short()
    config.model = {'constructor': 'test_plan.Own', 'dropout_rate': nn.relu}
    with pytest.raises(UserError, match='config: it holds a value that cannot be saved'):
        make_plan(config, dataset)
