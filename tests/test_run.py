import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnist_flax import metrics, models, optimizers, run

# Sums of absolute parameters, by layer, after the golden step.
GOLDEN = {
    'ConvReluPool_0': 79.3068,
    'ConvReluPool_1': 900.837,
    'Dense_0': 4208.1289,
    'Dense_1': 91.6002,
}


@pytest.fixture(scope='module')
def model():
    return models.create_model((4, 8), hidden_size=16, num_classes=10, conv='auto')


# One object for all tests: a new one, though equal, would compile everything anew.
ADAM = optimizers.create_optimizer('adam', 1e-3, 'constant', num_steps=1)


def create_state(model, seed=0):
    return run.create_train_state(model, ADAM, jax.random.key(seed))


@pytest.fixture(scope='module')
def examples(mnist):
    images, labels = mnist.train.slice(0, 100)
    return jnp.asarray(images), jnp.asarray(labels)


def assert_same_params(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual.params, expected.params)


def test_golden_step(mnist):
    """One Adam step of the default model on the first 128 training images.

    Update the numbers only when the mathematics is meant to change (initialisation, loss,
    optimizer, keys) and say so in the commit; another formulation of the same function
    must pass as it is.
    """
    model = models.create_model((32, 64), hidden_size=128, num_classes=10, conv='auto')
    images, labels = jax.device_put(mnist.train.slice(0, 128))
    state, totals = run.train_epoch(create_state(model), images, labels, batch_size=128)
    assert totals.means() == (pytest.approx(2.364756, rel=1e-5), 17 / 128)
    norms = {
        layer: float(sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(params)))
        for layer, params in state.params.items()
    }
    assert norms == pytest.approx(GOLDEN, rel=1e-5)


def test_a_step_equals_the_textbook_one(model, examples):
    images, labels = examples
    state = create_state(model)

    @jax.value_and_grad
    def loss(params):
        logits = model.apply({'params': params}, images / 255.0)
        log_probabilities = jax.nn.log_softmax(logits)
        return -log_probabilities[jnp.arange(len(labels)), labels].mean()

    value, grads = jax.jit(loss)(state.params)
    updates, _ = state.tx.update(grads, state.opt_state, state.params)
    expected = optax.apply_updates(state.params, updates)
    new_state, totals = run.train_epoch(state, images, labels, batch_size=len(labels))
    assert int(new_state.step) == 1
    assert totals.means()[0] == pytest.approx(float(value), rel=1e-5)
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6),
        new_state.params,
        expected,
    )


@pytest.mark.parametrize('batch_size', [7, 99, 100])
def test_an_epoch_sees_every_example_once(model, examples, batch_size):
    state = create_state(model)
    order = run.epoch_order(state, 100, batch_size)
    assert sorted(order.tolist()) == list(range(100))
    state, totals = run.train_epoch(state, *examples, batch_size)
    assert int(totals.examples) == 100
    assert int(state.step) == -(-100 // batch_size)


def test_the_smaller_last_batch_counts_its_own_examples_only(model, examples):
    images, labels = examples
    state = create_state(model)
    order = run.epoch_order(state, 100, 64)
    by_hand = state
    totals = metrics.Totals(jnp.zeros(()), jnp.asarray(0), jnp.asarray(0))
    for batch in (order[:64], order[64:]):
        everything = jnp.ones(len(batch), bool)
        by_hand, totals = jax.jit(run.train_step)(
            by_hand, totals, images[batch], labels[batch], everything
        )
    state, epoch_totals = run.train_epoch(state, images, labels, batch_size=64)
    assert int(epoch_totals.correct) == int(totals.correct)
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6),
        state.params,
        by_hand.params,
    )


def test_each_epoch_and_each_seed_has_its_own_order(model):
    first = create_state(model, seed=0)
    later = first.replace(step=jnp.asarray(4))  # four steps of 25: one epoch of 100
    other = create_state(model, seed=1)
    orders = [run.epoch_order(state, 100, 25).tolist() for state in (first, later, other)]
    assert len({tuple(order) for order in orders}) == 3
    assert run.epoch_order(create_state(model, seed=0), 100, 25).tolist() == orders[0]


def test_the_slices_of_an_epoch_do_not_change_its_result(model, examples, monkeypatch):
    states = []
    for slices in (1, 3, 20):
        monkeypatch.setattr(run, 'SLICES_PER_EPOCH', slices)
        steps = []
        state, totals = run.train_epoch(
            create_state(model),
            *examples,
            batch_size=8,
            on_progress=lambda num_steps, totals, steps=steps: steps.append(num_steps),
        )
        assert sum(steps) == 13
        states.append((state, totals))
    for state, totals in states[1:]:
        assert_same_params(state, states[0][0])
        assert totals == states[0][1]


def test_an_epoch_compiles_once(model, examples):
    state = create_state(model)
    run.compile_epoch(state, *examples, batch_size=9)
    compiled = run.train_steps._cache_size()
    for _ in range(2):
        state, _ = run.train_epoch(state, *examples, batch_size=9)
    assert run.train_steps._cache_size() == compiled


@pytest.mark.parametrize('num_examples', [1, 99, 100])
def test_evaluation_counts_every_example_exactly(model, examples, num_examples):
    images, labels = (array[:num_examples] for array in examples)
    state = create_state(model)
    logits = model.apply({'params': state.params}, images / 255.0)
    np.testing.assert_allclose(
        run.predict_logits(state, images, batch_size=10), logits, rtol=1e-4, atol=1e-5
    )
    totals = run.evaluate(state, images, labels)
    assert int(totals.examples) == num_examples
    assert int(totals.correct) == int((logits.argmax(-1) == labels).sum())


def test_runs_can_be_vmapped(model, examples):
    """A run knows of exactly one run: several are a `vmap` over their states."""
    images, labels = examples
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.jit(jax.vmap(lambda key: run.create_train_state(model, ADAM, key)))(keys)

    def train_and_evaluate(state):
        order = run.epoch_order(state, len(labels), 25)
        totals = metrics.Totals(jnp.zeros(()), jnp.asarray(0), jnp.asarray(0))
        state, totals = run.train_steps(
            state, totals, images, labels, order, 0, 4, batch_size=25
        )
        return totals, run.evaluate(state, images, labels)

    together = jax.jit(jax.vmap(train_and_evaluate))(states)
    for i, key in enumerate(keys):
        alone = run.create_train_state(model, ADAM, key)
        alone, trained = run.train_epoch(alone, images, labels, 25)
        evaluated = run.evaluate(alone, images, labels)
        for one, of_many in zip((trained, evaluated), together, strict=True):
            np.testing.assert_allclose(of_many.loss[i], one.loss, rtol=1e-4)
            assert int(of_many.correct[i]) == int(one.correct)
