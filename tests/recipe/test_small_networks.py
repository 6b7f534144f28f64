"""The networks of configs/small.py and configs/shifts.py, in all their sizes."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import shifts, small
from mnist_flax.common.constructors import construct_named
from mnist_flax.common.errors import UserError
from mnist_flax.models import Dropout, create_model

COUNTS = {'1k': 970, '3k': 2_870, '10k': 8_454, '25k': 24_830, '100k': 99_402}


def make_model(name):
    config = importlib.import_module(f'configs.params_{name}').get_config()
    config.model.num_classes = 10
    return construct_named(config.model, 'config.model')


@pytest.mark.parametrize('name', COUNTS)
def test_the_configs_have_as_many_parameters_as_they_say(name):
    images = jnp.zeros((1, 28, 28, 1))
    variables = jax.eval_shape(make_model(name).init, jax.random.key(0), images)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
    assert count == COUNTS[name] <= 1000 * int(name[:-1])


@pytest.mark.parametrize('name', ['1k', '3k'])
def test_the_answer_is_the_mean_for_an_image_and_its_four_neighbours(name, monkeypatch):
    model = make_model(name)
    images = jax.random.uniform(jax.random.key(1), (3, 28, 28, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    found = jax.jit(model.apply)(variables, images)
    monkeypatch.setattr(shifts, 'SHIFTS', ((0, 0),))
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    moved = jnp.concatenate([jnp.roll(images, by, (1, 2)) for by in moves])
    each = jax.jit(model.apply)(variables, moved).reshape(5, *found.shape)
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5)
    assert np.ptp(each, axis=0).max() > 1e-3


def test_in_training_the_default_network_is_as_it_is_without_shifts():
    """With its dropout, and without the images' neighbours."""
    fields = {'hidden_size': 8, 'num_classes': 10, 'conv': 'xla', 'dtype': 'float32'}
    fields |= {'features': (2, 4), 'dropout_rate': 0.5, 'batch_norm': False}
    shifted, plain = shifts.create_cnn(**fields), create_model(**fields)
    images = jax.random.uniform(jax.random.key(1), (3, 28, 28, 1))
    variables = shifted.init(jax.random.key(0), images)
    own = {'params': variables['params']['network']}
    assert np.abs(shifted.apply(variables, images) - plain.apply(own, images)).max() > 1e-3
    dropout = Dropout(jax.random.split(jax.random.key(2), 3), jnp.float32(0.5))
    train = {'train': True, 'dropout': dropout}
    found = shifted.apply(variables, images, **train)
    np.testing.assert_allclose(found, plain.apply(own, images, **train), atol=1e-6)
    assert np.abs(found - plain.apply(own, images, train=True)).max() > 1e-3


def test_layers_of_other_widths_cannot_share_a_convolution():
    with pytest.raises(UserError, match=r'^config.model.stages: found \(\(8,\), \(9,\)\);'):
        small.create(8, ((8,), (9,)), 'shared', 10)
