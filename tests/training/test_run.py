"""A run: its steps, the order of its examples, its devices and its evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_runs import (
    assert_close_params,
    create_recipe,
    create_state,
    follow,
    means,
    of_first,
)

from mnist_flax.training import devices, population, prediction, run
from mnist_flax.training.devices import on_mesh

# Sums of absolute parameters, by layer, after the golden step.
GOLDEN = {
    'ConvReluPool_0': 79.3068,
    'ConvReluPool_1': 900.837,
    'Dense_0': 4208.1289,
    'Dense_1': 91.6002,
}


def epoch_order(mesh, state, batch_size):
    (order,) = on_mesh(run.epoch_order, mesh, 1, num_examples=100, batch_size=batch_size)(
        state
    )
    return order


def test_golden_step(mesh, mnist):
    """One Adam step of the default model on the first 128 training images.

    Update the numbers only when the mathematics is meant to change (initialisation, loss,
    optimizer, keys) and say so in the commit; another formulation of the same function
    must pass as it is.
    """
    recipe = create_recipe((32, 64), 128, conv='auto')
    images, labels = devices.replicate(mesh, tuple(mnist.train.slice(0, 128)))
    state = create_state(mesh, recipe)
    state, totals = population.train_epoch(mesh, recipe, state, images, labels, 128)
    expected = {'loss': pytest.approx(2.364756, rel=1e-5), 'accuracy': 17 / 128}
    assert means(totals) == expected
    norms = {
        layer: float(sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(params)))
        for layer, params in state.params.items()
    }
    assert norms == pytest.approx(GOLDEN, rel=1e-5)


def test_a_step_equals_the_textbook_one(mesh, recipe, examples):
    images, labels = examples
    state = create_state(mesh, recipe)
    params = of_first(state.params)

    @jax.value_and_grad
    def loss(params):
        logits = recipe.model.apply({'params': params}, images / 255.0)
        log_probabilities = jax.nn.log_softmax(logits)
        return -log_probabilities[jnp.arange(len(labels)), labels].mean()

    value, grads = jax.jit(loss)(params)
    adam = optax.adam(1e-3)
    updates, _ = adam.update(grads, adam.init(params), params)
    expected = optax.apply_updates(params, updates)
    new_state, totals = population.train_epoch(
        mesh, recipe, state, images, labels, len(labels)
    )
    assert new_state.step.tolist() == [1]
    assert means(totals)['loss'] == pytest.approx(float(value), rel=1e-5)
    assert_close_params(of_first(new_state.params), expected)


@pytest.mark.parametrize('batch_size', [7, 99, 100])
def test_an_epoch_sees_every_example_once(mesh, recipe, examples, batch_size):
    state = create_state(mesh, recipe)
    order = epoch_order(mesh, state, batch_size)
    assert sorted(order.tolist()) == list(range(100))
    state, totals = population.train_epoch(mesh, recipe, state, *examples, batch_size)
    assert totals.examples.tolist() == [100]
    assert state.step.tolist() == [-(-100 // batch_size)]


def test_the_smaller_last_batch_counts_its_own_examples_only(mesh, recipe, examples):
    images, labels = examples
    by_hand = create_state(mesh, recipe)
    order = epoch_order(mesh, by_hand, 64)
    step = on_mesh(run.train_step, mesh, 1, recipe=recipe)
    correct = 0
    for batch in (order[:64], order[64:]):
        everything, rows = jnp.ones(len(batch), bool), jnp.arange(len(batch))
        by_hand, totals = step(by_hand, images[batch], labels[batch], everything, rows)
        correct += int(totals.correct[0])
    state = create_state(mesh, recipe)
    state, epoch_totals = population.train_epoch(mesh, recipe, state, images, labels, 64)
    assert epoch_totals.correct.tolist() == [correct]
    assert_close_params(state.params, by_hand.params)


@pytest.mark.parametrize('num_devices', [2, pytest.param(8, marks=pytest.mark.slow)])
def test_devices_share_the_work_and_not_the_result(recipe, examples, num_devices):
    """One device and several agree step by step, up to rounding."""
    arrays = tuple(np.asarray(array) for array in examples)
    results = []
    for n in (1, num_devices):
        mesh = devices.make_mesh(n, batch_size=16)
        # The last of 7 steps has 4 examples: some of 8 devices have none.
        state, rows = follow(mesh, recipe, arrays, num_steps=7, batch_size=16)
        evaluated = population.evaluate(
            mesh, recipe, state, *devices.replicate(mesh, arrays)
        )
        rows.append(jax.device_get((state.params, evaluated)))
        results.append(rows)
        assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == n
    for (params, totals), (expected_params, expected) in zip(*results, strict=True):
        assert_close_params(params, expected_params)
        np.testing.assert_allclose(totals.loss, expected.loss, rtol=1e-5)
        assert (totals.correct, totals.examples) == (expected.correct, expected.examples)


@pytest.mark.slow
def test_the_fast_formulation_s_losses_follow_the_reference_s_for_200_steps(mesh, mnist):
    curves = []
    for conv in ('winograd', 'xla'):
        recipe = create_recipe((8, 16), 32, conv)
        arrays = tuple(mnist.train.slice(0, 6400))
        _, rows = follow(mesh, recipe, arrays, num_steps=200, batch_size=32)
        losses = [float(totals.loss[0]) for _, totals in rows]
        curves.append(np.diff(losses, prepend=0) / 32)
    fast, reference = curves
    assert reference[:10].mean() > 2 > 1 > reference[-10:].mean()  # it has learned
    # Rounding decides between nearly equal outputs of a window, and Adam amplifies it.
    np.testing.assert_allclose(fast[:3], reference[:3], rtol=1e-3)
    np.testing.assert_allclose(fast, reference, rtol=0, atol=0.06)
    assert np.abs(fast - reference).mean() < 0.01


def test_bfloat16_activations_learn_as_well(mesh, mnist):
    losses = []
    for dtype in ('float32', 'bfloat16'):
        recipe = create_recipe((4, 8), 16, dtype=dtype)
        images, labels = devices.replicate(mesh, tuple(mnist.train.slice(0, 320)))
        state = create_state(mesh, recipe)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
        _, totals = population.train_epoch(mesh, recipe, state, images, labels, 16)
        losses.append(means(totals)['loss'])
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)


def test_each_epoch_and_each_seed_has_its_own_order(mesh, recipe):
    first = create_state(mesh, recipe, 0)
    later = first.replace(step=jnp.array([4]))  # four steps of 25: one epoch of 100
    other = create_state(mesh, recipe, 1)
    orders = [epoch_order(mesh, state, 25).tolist() for state in (first, later, other)]
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(mesh, create_state(mesh, recipe, 0), 25).tolist() == orders[0]


@pytest.mark.parametrize('num_examples', [1, 99, 100])
def test_evaluation_counts_every_example_exactly(mesh, recipe, examples, num_examples):
    images, labels = (array[:num_examples] for array in examples)
    state = create_state(mesh, recipe)
    logits = recipe.model.apply({'params': of_first(state.params)}, images / 255.0)
    predict = on_mesh(prediction.predict_logits, mesh, 1, recipe=recipe, batch_size=10)
    np.testing.assert_allclose(predict(state, images)[0], logits, rtol=1e-4, atol=1e-5)
    totals = population.evaluate(mesh, recipe, state, images, labels)
    assert totals.examples.tolist() == [num_examples]
    assert totals.correct.tolist() == [int((logits.argmax(-1) == labels).sum())]
