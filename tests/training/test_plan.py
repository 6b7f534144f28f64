import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from configs import accurate, default
from mnist_flax.common.errors import UserError
from mnist_flax.training.plan import make_plan
from mnist_flax.training.sweeps import SWEPT


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
    assert only == (0, {}, {'learning_rate': 1e-3})
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
            {'runs': 200, 'sweep.learning_rate': tuple(range(1, 52))},
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
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as info:
        make_plan(config, dataset)
    assert str(info.value).startswith(message)


def test_a_sweep_is_the_grid_of_all_values_with_all_seeds(dataset):
    config = short(accurate.get_config())
    config.runs = 2
    config.sweep.update({'dropout_rate': (0.0, 0.5), 'label_smoothing': (0.0, 0.1, 0.2)})
    plan = make_plan(config, dataset)
    found = [
        (run.swept['dropout_rate'], run.swept['label_smoothing'], run.seed)
        for run in plan.runs
    ]
    assert found == [(d, s, i) for s in (0.0, 0.1, 0.2) for d in (0.0, 0.5) for i in (0, 1)]
    for run in plan.runs:
        assert set(run.hyperparams) == {
            'learning_rate',
            'label_smoothing',
            'dropout_rate',
            'augment_strength',
        }
        assert run.hyperparams | run.swept == run.hyperparams
    # The values are no part of the program.
    assert plan.recipe == make_plan(short(accurate.get_config()), dataset).recipe


def test_every_swept_name_is_a_number_of_the_config():
    config = default.get_config()
    for path in SWEPT.values():
        value = config
        for name in path:
            value = value[name]
        assert isinstance(value, float)
    assert set(config.sweep) == set(SWEPT)


def change(config, path, value):
    *parents, field = path.split('.')
    for parent in parents:
        config = config[parent]
    with config.unlocked(), config.ignore_type():
        config[field] = value


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('runs', 0, 'config.runs: found 0; allowed: 1 to 10000'),
        ('runs_at_once', -1, 'config.runs_at_once: found -1; allowed: 0 or more'),
        ('seed', 2**32 - 1, None),
        ('label_smoothing', 1.0, 'config.label_smoothing: found 1.0; allowed: 0 to less'),
        ('ema_decay', -0.5, 'config.ema_decay: found -0.5; allowed: 0 to less than 1'),
        ('ema_decay', float('nan'), 'config.ema_decay: found nan; allowed: 0 to less'),
        ('num_epochs', 0, 'config.num_epochs: found 0; allowed: 1 or more'),
        ('batch_size', 301, 'config.batch_size: found 301; allowed: 1 to 300'),
        ('matmul_precision', 'low', "allowed: 'float32', 'tensorfloat32'"),
        ('model.features', (3, 'a'), 'allowed: tuple[int, ...]'),
        ('model.dtype', 'float16', "allowed: 'float32', 'bfloat16'"),
        ('optimizer.name', 'adm', "optimizer.name: found 'adm'; allowed: "),
        ('sweep.momentum', (0.9,), "config.sweep has no field 'momentum'; its fields are"),
        ('sweep.dropout_rate', (0.1, 0.1), 'dropout_rate: (0.1, 0.1) has a value twice'),
        ('sweep.dropout_rate', (0.1, 1.0), 'config.model.dropout_rate: found 1.0; allowed'),
        ('sweep.learning_rate', 0.1, 'config.sweep.learning_rate: found 0.1; allowed'),
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
        ('model', 'FailsInTraining', 'config.model, in training: calling it fails (Value'),
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
def test_a_model_that_keeps_its_dropout_rate_cannot_be_swept(dataset, name):
    config = short()
    config.model = {'constructor': f'test_plan.{name}', 'dropout_rate': 0.0}
    config.sweep.dropout_rate = (0.1, 0.5)
    with pytest.raises(UserError, match='config.sweep.dropout_rate: the model keeps its'):
        make_plan(config, dataset)


def test_a_model_that_takes_its_dropout_rate_is_swept_even_if_no_two_are_equal(dataset):
    """Lambdas are never equal; what counts is the program."""
    config = short()
    config.model = {'constructor': 'test_plan.create_with_lambda', 'dropout_rate': 0.0}
    config.sweep.dropout_rate = (0.1, 0.5)
    assert len(make_plan(config, dataset).runs) == 2


def test_an_augmentation_that_is_a_closure_can_be_swept(dataset):
    config = short()
    config.augment = {'constructor': 'test_plan.create_noise', 'strength': 1.0, 'most': 0.1}
    config.sweep.augment_strength = (0.5, 1.0)
    strengths = [
        run.hyperparams['augment_strength'] for run in make_plan(config, dataset).runs
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
    config = short()
    config.sweep.augment_strength = (0.5, 1.0)
    with pytest.raises(UserError, match='augment_strength: there is no augmentation'):
        make_plan(config, dataset)


def test_a_config_that_could_not_be_reported_is_refused_before_training(dataset):
    config = short()
    config.model = {'constructor': 'test_plan.Own', 'dropout_rate': nn.relu}
    with pytest.raises(UserError, match='config: it holds a value that cannot be saved'):
        make_plan(config, dataset)
