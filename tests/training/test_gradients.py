"""The gradient of a batch that is computed in parts is that of the whole batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import INGREDIENTS, create_recipe, create_rich_recipe, train_rich

from configs import default
from mnist_flax.common.errors import UserError
from mnist_flax.models import cnn
from mnist_flax.training import devices, gradients, population
from mnist_flax.training.plan import make_plan
from mnist_flax.training.recipes import create_recipe as recipe_of


@given(st.integers(1, 5000), st.integers(0, 300))
def test_parts_are_equal_and_not_too_large(num_examples, most):
    parts = gradients.count_parts(num_examples, most)
    assert num_examples % parts == 0
    if parts > 1:
        assert most / 4 < num_examples // parts <= most < num_examples
    if most and num_examples % most == 0:
        assert num_examples // parts == most


def without_batch_norm(recipe):
    model = cnn.create_model((4, 8), 16, 10, 'xla', 'float32', 0.4, False)
    return dataclasses.replace(recipe, model=model)


@pytest.mark.parametrize('num_devices', [pytest.param(1, marks=pytest.mark.slow), 2])
def test_parts_change_nothing_but_rounding(examples, num_devices):
    """With all ingredients, and with a last batch that is not full."""
    arrays = tuple(np.asarray(array)[:64] for array in examples)
    mesh = devices.make_mesh(num_devices, 24)
    whole = without_batch_norm(create_rich_recipe())
    parts = dataclasses.replace(whole, microbatch_size=4)
    expected, actual = (
        train_rich(mesh, arrays, recipe, INGREDIENTS) for recipe in (whole, parts)
    )
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=2e-3, atol=2e-4)


@pytest.mark.slow
def test_batch_norm_takes_the_statistics_of_a_part(examples):
    arrays = tuple(np.asarray(array)[:48] for array in examples)
    mesh = devices.make_mesh(1, 24)
    whole = create_rich_recipe()
    # As many as a layer has features: their statistics are not those of examples.
    parts = dataclasses.replace(whole, microbatch_size=8)
    one, other = (
        train_rich(mesh, arrays, recipe, INGREDIENTS)[0] for recipe in (whole, parts)
    )
    shapes = jax.tree.map(jnp.shape, one)
    assert jax.tree.map(jnp.shape, other) == shapes
    means = [tree['batch_stats']['ConvReluPool_0'] for tree in (one, other)]
    means = [jax.tree.leaves(of)[0] for of in means]
    np.testing.assert_allclose(means[1], means[0], atol=0.05)
    assert (means[0] != means[1]).any()


@pytest.mark.slow
def test_parts_take_less_memory(examples):
    mesh = devices.make_mesh(1, 64)
    images, labels = devices.replicate(mesh, [np.asarray(a)[:64] for a in examples])
    sizes = []
    for microbatch_size in (0, 8):
        recipe = dataclasses.replace(
            create_recipe((4, 8), 16), microbatch_size=microbatch_size
        )
        state = population.init(mesh, recipe, [0], {'optimizer.learning_rate': [1e-3]})
        epoch, _ = population.lower_epoch(mesh, recipe, state, images, labels, 64)
        sizes += map(population.count_bytes, population.compile_programs([epoch]))
    assert sizes[1] < 0.6 * sizes[0]


def my_loss(logits, labels):
    return jnp.sum(logits, axis=-1) * labels


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, gradients.CPU_MICROBATCH_SIZE),
        ({'batch_size': 128}, 0),
        ({'batch_size': 128, 'microbatch_size': 8}, 8),
        ({'model.batch_norm': True}, 0),
        ({'model.batch_norm': True, 'microbatch_size': 8}, 8),
        ({'loss.constructor': f'{__name__}.my_loss'}, 0),
        ({'loss.constructor': 'focal'}, gradients.CPU_MICROBATCH_SIZE),
    ],
)
def test_what_cannot_be_divided_is_not_unless_the_config_says_so(changes, expected):
    config = default.get_config()
    config.batch_size = 512
    config.update_from_flattened_dict(changes)
    config.model.num_classes = 10
    if jax.default_backend() != 'cpu' and 'microbatch_size' not in changes:
        expected = 0
    assert recipe_of(config, 1000, (28, 28, 1), set()).microbatch_size == expected


@pytest.mark.parametrize('size', [3, 65, 128])
def test_another_size_of_parts_than_a_divisor_is_refused(mnist, size):
    config = default.get_config()
    config.update({'microbatch_size': size, 'num_devices': 2})
    message = f'^config.microbatch_size: found {size}; allowed: 0, or a divisor of 64'
    with pytest.raises(UserError, match=message):
        make_plan(config, mnist)
