"""Models and augmentations of a user's own, with the mistakes that one makes."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from short_configs import short, swept

from configs import default
from mnist_flax.common.errors import UserError
from mnist_flax.training.plan import make_plan, make_plans


@pytest.fixture(scope='module')
def dataset():
    return make_plan(short()).dataset


class Own(nn.Module):
    dropout_rate: float | None = 0.0
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
    fields = {'constructor': f'test_own_code.{constructor}'}
    config[subtree] = fields | ({'strength': 1} if subtree == 'augment' else {})
    if message is None:
        make_plan(config, dataset)
        return
    with pytest.raises(UserError) as caught:
        make_plan(config, dataset)
    assert str(caught.value).startswith(message)
    assert '\n' not in str(caught.value)


def test_a_dropout_rate_of_none_is_no_dropout_and_one_that_makes_no_sense_is_named(dataset):
    config = short()
    config.model = {'constructor': 'test_own_code.Own', 'dropout_rate': None}
    (run,) = make_plan(config, dataset).runs
    assert 'model.dropout_rate' not in run.hyperparams
    for rate in (1.0, -0.1, float('nan')):
        config.model = {'constructor': 'test_own_code.Own', 'dropout_rate': rate}
        message = f'^config.model.dropout_rate: found {rate}; allowed: 0 to less than 1$'
        with pytest.raises(UserError, match=message):
            make_plan(config, dataset)


@pytest.mark.parametrize('name', ['KeepsItsRate', 'WithDropout'])
def test_a_model_that_keeps_its_dropout_rate_is_a_program_for_each(dataset, name):
    config = swept(default.get_config(), {'model.dropout_rate': (0.1, 0.5)})
    config.model = {'constructor': f'test_own_code.{name}', 'dropout_rate': 0.0}
    plans = make_plans(config, dataset)
    assert [plan.recipe.model.dropout_rate for plan in plans] == [0.1, 0.5]
    assert plans[0].recipe != plans[1].recipe


def test_a_model_that_takes_its_dropout_rate_is_swept_even_if_no_two_are_equal(dataset):
    """Lambdas are never equal; what counts is the program."""
    config = swept(default.get_config(), {'model.dropout_rate': (0.1, 0.5)})
    config.model = {'constructor': 'test_own_code.create_with_lambda', 'dropout_rate': 0.0}
    assert len(make_plan(config, dataset).runs) == 2


def test_an_augmentation_that_is_a_closure_can_be_swept(dataset):
    config = swept(default.get_config(), {'augment.strength': (0.5, 1.0)})
    constructor = 'test_own_code.create_noise'
    config.augment = {'constructor': constructor, 'strength': 1.0, 'most': 0.1}
    strengths = [
        run.hyperparams['augment.strength'] for run in make_plan(config, dataset).runs
    ]
    assert strengths == [0.5, 1.0]


def test_recipes_of_different_configs_are_never_equal(dataset):
    """Even if the objects are: equal recipes share a compiled program."""
    plans = []
    for scale in (1.0, 2.0):
        config = short()
        config.model = {'constructor': 'test_own_code.Careless', 'scale': scale}
        plans.append(make_plan(config, dataset))
    first, second = (plan.recipe for plan in plans)
    assert first.model == second.model
    assert first != second
    # Of the numbers that are traced, one program serves all.
    slower = short()
    slower.model = {'constructor': 'test_own_code.Careless', 'scale': 2.0}
    slower.optimizer.learning_rate = 1e-5
    assert make_plan(slower, dataset).recipe == second


def test_a_config_that_could_not_be_reported_is_refused_before_training(dataset):
    config = short()
    config.model = {'constructor': 'test_own_code.Own', 'dropout_rate': nn.relu}
    with pytest.raises(UserError, match='config: it holds a value that cannot be saved'):
        make_plan(config, dataset)
