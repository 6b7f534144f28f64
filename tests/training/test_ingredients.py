"""The ingredients of a recipe: each does what it should, on any number of devices."""

import dataclasses

import jax
import numpy as np
import pytest
from small_runs import (
    INGREDIENTS,
    create_rich_recipe,
    create_state,
    follow,
    of_first,
    train_rich,
)

from mnist_flax.models import cnn, ops
from mnist_flax.training import devices, population


@pytest.mark.slow
def test_with_all_ingredients_the_devices_still_do_not_change_the_result(examples):
    """Random numbers belong to examples, and batch norm's statistics to the whole batch."""
    arrays = tuple(np.asarray(array) for array in examples)
    one, several = (
        train_rich(devices.make_mesh(n, 24), arrays, create_rich_recipe(), INGREDIENTS)
        for n in (1, 4)
    )
    for actual, expected in zip(
        jax.tree.leaves(several), jax.tree.leaves(one), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize('name', INGREDIENTS)
def test_each_number_changes_the_training(mesh, examples, name):
    arrays = tuple(np.asarray(array) for array in examples)
    recipe = create_rich_recipe()
    usual = train_rich(mesh, arrays, recipe, INGREDIENTS)
    changed = {**INGREDIENTS, name: INGREDIENTS[name] / 2}
    other = train_rich(mesh, arrays, recipe, changed)
    assert np.abs(other[1] - usual[1]).max() > 1e-3


@pytest.mark.parametrize('scale', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_numbers_that_are_traced_do_what_those_do_that_are_compiled_in(
    mesh, examples, scale
):
    """And those of 0 what none do, which are left out of the program."""
    arrays = tuple(np.asarray(array) for array in examples)
    names = ('optimizer.weight_decay', 'loss.label_smoothing')
    if not scale:
        names = (*names, 'augment.strength')
    traced = INGREDIENTS | {name: scale * INGREDIENTS[name] for name in names}
    recipe = create_rich_recipe(weight_decay=9.0, label_smoothing=0.9)
    expected = train_rich(mesh, arrays, recipe, traced)
    others = {name: value for name, value in INGREDIENTS.items() if name not in names}
    recipe = create_rich_recipe(5.0 * scale, 0.1 * scale)
    compiled_in = train_rich(mesh, arrays, recipe, others)
    np.testing.assert_allclose(compiled_in[1], expected[1], rtol=1e-3, atol=1e-3)


def test_the_moving_average_by_hand(mesh, recipe, examples):
    arrays = tuple(np.asarray(array) for array in examples)
    _, rows = follow(mesh, recipe, arrays, num_steps=3, batch_size=40)
    kernels = [params['Dense_1']['kernel'] for params, _ in rows]
    # Weights 0.81 * 0.1, 0.9 * 0.1 and 0.1, divided by their sum.
    expected = np.average(kernels, axis=0, weights=[0.81, 0.9, 1.0])
    averaging = dataclasses.replace(recipe, ema_decay=0.9)
    numbers = {'optimizer.learning_rate': 1e-3}
    tested, *_ = train_rich(mesh, arrays, averaging, numbers, num_epochs=1, batch_size=40)
    actual = tested['params']['Dense_1']['kernel']
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def norm_of_first_layer(state):
    statistics = jax.device_get(of_first(state.model_state['batch_stats']))
    return statistics['ConvReluPool_0']['BatchNorm_0']


def test_batch_norm_learns_the_statistics_that_it_tests_with(mesh, recipe, examples):
    images, labels = examples
    model = cnn.create_model((4, 8), 16, 10, 'xla', 'float32', 0.0, batch_norm=True)
    recipe = dataclasses.replace(recipe, model=model)
    state = create_state(mesh, recipe)
    before = jax.device_get(of_first(state.model_state['batch_stats']))['ConvReluPool_0'][
        'BatchNorm_0'
    ]
    state, _ = population.train_epoch(mesh, recipe, state, images, labels, 100)
    after = jax.device_get(of_first(state.model_state['batch_stats']))['ConvReluPool_0'][
        'BatchNorm_0'
    ]
    # Flax's momentum of 0.99, one step, and what the first layer's pool gives at the start.
    kernel = of_first(create_state(mesh, recipe).params)['ConvReluPool_0']['kernel']
    pooled = ops.conv_max_pool(images / 255.0, kernel, 'xla')
    for name, statistic in (
        ('mean', pooled.mean((0, 1, 2))),
        ('var', pooled.var((0, 1, 2))),
    ):
        expected = 0.99 * before[name] + 0.01 * statistic
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-6)
