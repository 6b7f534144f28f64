import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnist_flax import (
    augment,
    devices,
    metrics,
    models,
    ops,
    optimizers,
    population,
    run,
)
from mnist_flax.devices import on_mesh
from mnist_flax.run import Recipe

# Sums of absolute parameters, by layer, after the golden step.
GOLDEN = {
    'ConvReluPool_0': 79.3068,
    'ConvReluPool_1': 900.837,
    'Dense_0': 4208.1289,
    'Dense_1': 91.6002,
}


ADAM = optimizers.create_optimizer(
    'adam', 1e-3, 0.0, 'constant', warmup=0.0, clip_norm=0.0, num_steps=1
)


def create_recipe(features, hidden_size, conv='xla', dtype='float32'):
    model = models.create_model(features, hidden_size, 10, conv, dtype, 0.0, False)
    return Recipe(model, ADAM, augment=None, ema_decay=0.0)


@pytest.fixture(scope='module')
def recipe():
    # XLA's own convolution: it compiles fastest, and test_ops compares the others with it.
    return create_recipe((4, 8), 16)


@pytest.fixture(scope='module')
def mesh():
    return devices.make_mesh(1, batch_size=1)


@pytest.fixture(scope='module')
def examples(mesh, mnist):
    return devices.replicate(mesh, tuple(mnist.train.slice(0, 100)))


def create_state(mesh, recipe, *seeds):
    seeds = seeds or (0,)
    return population.init(mesh, recipe, seeds, {'learning_rate': [1e-3] * len(seeds)})


def epoch_order(mesh, state, batch_size):
    (order,) = on_mesh(run.epoch_order, mesh, 1, num_examples=100, batch_size=batch_size)(
        state
    )
    return order


def means(totals):
    (only,) = totals.by_run()
    return only.means()


def assert_same_params(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual.params, expected.params)


def assert_close_params(actual, expected):
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6),
        actual,
        expected,
    )


def of_first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


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
    assert means(totals) == (pytest.approx(2.364756, rel=1e-5), 17 / 128)
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
    assert means(totals)[0] == pytest.approx(float(value), rel=1e-5)
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


def follow(mesh, recipe, arrays, num_steps, batch_size):
    """Trains step by step; returns the parameters and totals after each."""
    images, labels = devices.replicate(mesh, arrays)
    state = create_state(mesh, recipe)
    sizes = {'num_examples': len(labels), 'batch_size': batch_size}
    order = on_mesh(run.epoch_order, mesh, 1, **sizes)(state)
    steps = on_mesh(run.train_steps, mesh, 3, recipe=recipe, batch_size=batch_size)
    totals = jax.tree.map(lambda leaf: leaf[None], metrics.no_totals())
    rows = []
    for i in range(num_steps):
        bounds = np.array([i, i + 1])
        state, totals = steps(state, totals, order, images, labels, bounds)
        rows.append(jax.device_get((state.params, totals)))
    return state, rows


@pytest.mark.parametrize('num_devices', [2, 8])
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
        losses.append(means(totals)[0])
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
    predict = on_mesh(run.predict_logits, mesh, 1, recipe=recipe, batch_size=10)
    np.testing.assert_allclose(predict(state, images)[0], logits, rtol=1e-4, atol=1e-5)
    totals = population.evaluate(mesh, recipe, state, images, labels)
    assert totals.examples.tolist() == [num_examples]
    assert totals.correct.tolist() == [int((logits.argmax(-1) == labels).sum())]


# --- Ingredients.

INGREDIENTS = {
    'learning_rate': 3e-3,
    'weight_decay': 5.0,
    'label_smoothing': 0.1,
    'dropout_rate': 0.4,
    'augment_strength': 1.0,
}


def create_rich_recipe(**changes):
    """A recipe with everything that the default has not."""
    optimizer = optimizers.create_optimizer(
        'adamw', 3e-3, 5.0, 'onecycle', warmup=0.3, clip_norm=1.0, num_steps=20
    )
    fields = {
        'model': models.create_model((4, 8), 16, 10, 'xla', 'float32', 0.4, True),
        'optimizer': optimizer,
        'augment': augment.create_augment(10.0, 0.1, 0.1, 2.0, 0.5, 0.3),
        'ema_decay': 0.9,
    }
    return Recipe(**{**fields, **changes})


def train_rich(mesh, arrays, recipe, numbers, seeds=(0,), num_epochs=2, batch_size=24):
    images, labels = devices.replicate(mesh, arrays)
    numbers = {
        name: np.broadcast_to(value, len(seeds)).tolist() for name, value in numbers.items()
    }
    state = population.init(mesh, recipe, seeds, numbers)
    for _ in range(num_epochs):
        state, totals = population.train_epoch(
            mesh, recipe, state, images, labels, batch_size
        )
    tested = population.variables_to_test(mesh, recipe, state)
    logits = population.predict_logits(mesh, recipe, state, images)
    return jax.device_get((tested, logits, totals))


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


def test_numbers_of_0_are_the_same_as_none(mesh, examples):
    arrays = tuple(np.asarray(array) for array in examples)
    recipe = create_rich_recipe()
    names = ('weight_decay', 'label_smoothing', 'augment_strength')
    zero = train_rich(mesh, arrays, recipe, {**INGREDIENTS, **dict.fromkeys(names, 0.0)})
    others = {name: value for name, value in INGREDIENTS.items() if name not in names}
    none = train_rich(mesh, arrays, recipe, others)
    np.testing.assert_allclose(zero[1], none[1], rtol=1e-3, atol=1e-3)


def test_the_moving_average_by_hand(mesh, recipe, examples):
    arrays = tuple(np.asarray(array) for array in examples)
    _, rows = follow(mesh, recipe, arrays, num_steps=3, batch_size=40)
    kernels = [params['Dense_1']['kernel'] for params, _ in rows]
    # Weights 0.81 * 0.1, 0.9 * 0.1 and 0.1, divided by their sum.
    expected = np.average(kernels, axis=0, weights=[0.81, 0.9, 1.0])
    averaging = dataclasses.replace(recipe, ema_decay=0.9)
    numbers = {'learning_rate': 1e-3}
    tested, *_ = train_rich(mesh, arrays, averaging, numbers, num_epochs=1, batch_size=40)
    actual = tested['params']['Dense_1']['kernel']
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_batch_norm_learns_the_statistics_that_it_tests_with(mesh, recipe, examples):
    images, labels = examples
    model = models.create_model((4, 8), 16, 10, 'xla', 'float32', 0.0, batch_norm=True)
    recipe = dataclasses.replace(recipe, model=model)
    state = create_state(mesh, recipe)
    before = jax.device_get(of_first(state.batch_stats))['ConvReluPool_0']['BatchNorm_0']
    state, _ = population.train_epoch(mesh, recipe, state, images, labels, 100)
    after = jax.device_get(of_first(state.batch_stats))['ConvReluPool_0']['BatchNorm_0']
    # Flax's momentum of 0.99, one step, and what the first layer's pool gives at the start.
    kernel = of_first(create_state(mesh, recipe).params)['ConvReluPool_0']['kernel']
    pooled = ops.conv_max_pool(images / 255.0, kernel, 'xla')
    for name, statistic in (
        ('mean', pooled.mean((0, 1, 2))),
        ('var', pooled.var((0, 1, 2))),
    ):
        expected = 0.99 * before[name] + 0.01 * statistic
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-6)
