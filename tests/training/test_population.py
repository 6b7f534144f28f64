import jax
import numpy as np
import pytest
from small_runs import (
    INGREDIENTS,
    assert_close_params,
    create_rich_recipe,
    create_state,
    means,
    train_rich,
)

from mnist_flax.training import devices, population


@pytest.fixture(scope='module')
def arrays(mnist):
    return tuple(mnist.train.slice(0, 100))


@pytest.fixture(scope='module')
def alone(arrays):
    mesh = devices.make_mesh(1, 24)
    recipe = create_rich_recipe()
    return [
        train_rich(
            mesh, arrays, recipe, {**INGREDIENTS, 'optimizer.learning_rate': rate}, [seed]
        )
        for seed, rate in zip(SEEDS, RATES, strict=True)
    ]


SEEDS, RATES = (0, 7), (1e-3, 4e-3)


@pytest.mark.parametrize(
    ('num_devices', 'shape'),
    [
        # All runs in one vmapped program.
        pytest.param(1, {'run': 1, 'data': 1}, marks=pytest.mark.slow),
        # Two devices for each run, which share its batches.
        (4, {'run': 2, 'data': 2}),
    ],
)
def test_a_run_of_a_population_equals_a_single_one(arrays, alone, num_devices, shape):
    """With all ingredients, and learning rates of their own; up to rounding.

    The programs differ in how they add up: a device's share of a batch is summed before
    the shares are, and products of several runs are batched.
    """
    mesh = devices.make_mesh(num_devices, 24, num_runs=2)
    assert dict(mesh.shape) == shape
    numbers = {**INGREDIENTS, 'optimizer.learning_rate': RATES}
    together = train_rich(mesh, arrays, create_rich_recipe(), numbers, SEEDS)
    for i, single in enumerate(alone):
        for actual, expected in zip(*map(jax.tree.leaves, (together, single)), strict=True):
            np.testing.assert_allclose(actual[i], expected[0], rtol=2e-3, atol=5e-4)


def test_a_run_that_diverges_leaves_its_siblings_alone(mesh, arrays, alone):
    numbers = {**INGREDIENTS, 'optimizer.learning_rate': (RATES[0], np.nan)}
    _, logits, totals = train_rich(mesh, arrays, create_rich_recipe(), numbers, SEEDS)
    assert np.isfinite(totals.loss).tolist() == [True, False]
    np.testing.assert_allclose(logits[0], alone[0][1][0], rtol=2e-3, atol=5e-4)


def test_the_slices_of_an_epoch_do_not_change_its_result(
    mesh, recipe, examples, monkeypatch
):
    states = []
    for slices in (1, 3, 20):
        monkeypatch.setattr(population, 'SLICES_PER_EPOCH', slices)
        steps, seen = [], []

        def on_progress(num_steps, state, totals, steps=steps, seen=seen):
            steps.append(num_steps)
            seen.append(means(totals))  # of one example at least
            return True

        state, totals = population.train_epoch(
            mesh, recipe, create_state(mesh, recipe), *examples, 8, on_progress
        )
        assert len(steps) == min(slices, 13)
        assert sum(steps) == 13
        assert seen[-1] == means(totals)
        states.append((state, totals))
    for state, totals in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, state.params, states[0][0].params)
        assert totals.correct == states[0][1].correct
        # Each slice sums up its own losses, so that the last bits may differ.
        np.testing.assert_allclose(totals.loss, states[0][1].loss, rtol=1e-6)


def test_an_epoch_for_accelerators_is_one_program_with_the_same_result(
    mesh, recipe, examples, monkeypatch
):
    def train(on_progress):
        state = create_state(mesh, recipe)
        return population.train_epoch(mesh, recipe, state, *examples, 8, on_progress)

    on_cpu, _ = train(lambda *call: True)
    calls = []
    monkeypatch.setattr(devices, 'is_cpu', lambda mesh: False)
    on_accelerator, _ = train(lambda *call: calls.append(call) or True)
    assert [num_steps for num_steps, *_ in calls] == [13]
    assert_close_params(on_accelerator.params, on_cpu.params)


def test_the_old_state_s_memory_is_given_to_the_new_one(mesh, recipe, examples):
    state = create_state(mesh, recipe)
    population.train_epoch(mesh, recipe, state, *examples, batch_size=50)
    with pytest.raises(RuntimeError, match='deleted'):
        np.asarray(state.params['Dense_0']['kernel'])


def test_an_epoch_compiles_once(mesh, recipe, examples, forbid_compilation):
    """And `compile_programs` has done it: the first epoch's time is training alone."""
    images, labels = devices.describe_replicated(mesh, examples)
    init, described = population.lower_init(mesh, recipe, 1, ['optimizer.learning_rate'])
    epoch, slow = population.lower_epoch(mesh, recipe, described, images, labels, 9)
    order = population.lower_order(mesh, described, labels, 9)
    assert slow == ["XLA's convolution", "the gradient of XLA's max-pooling"]
    _, compiled, _ = population.compile_programs([init, epoch, order])
    needed = population.count_bytes(compiled)
    with forbid_compilation():
        state = create_state(mesh, recipe)
        assert needed > sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
        for _ in range(2):
            state, _ = population.train_epoch(mesh, recipe, state, *examples, 9)


def test_a_grid_of_numbers_compiles_once(mesh, examples, forbid_compilation):
    """Learning rates and the like are values of a program, not parts of it."""
    recipe = create_rich_recipe()

    def train(scale):
        numbers = {name: [value * scale] for name, value in INGREDIENTS.items()}
        state = population.init(mesh, recipe, [3], numbers)
        population.train_epoch(mesh, recipe, state, *examples, batch_size=24)

    train(1.0)

    with forbid_compilation():
        train(0.5)
        train(0.1)


@pytest.mark.parametrize(
    ('num_devices', 'wanted', 'platform', 'expected'),
    [
        (2, 0, 'cpu', 2),  # a run on each core
        (2, 0, 'tpu', 2),
        (2, 0, 'gpu', 10),  # all, of which the last is there twice
        (2, 3, 'cpu', 4),
        (1, 3, 'gpu', 3),
    ],
)
def test_how_many_runs_are_trained_at_once(
    monkeypatch, num_devices, wanted, platform, expected
):
    mesh = devices.make_mesh(num_devices, 128, num_runs=9 if num_devices == 1 else 8)
    monkeypatch.setattr(devices, 'platform', lambda mesh: platform)
    assert population.num_at_once(mesh, num_runs=9, wanted=wanted) == expected
