import jax
import numpy as np
import pytest

from configs import default, fashion_mnist, fast
from mnist_flax import devices, models, optimizers, run
from mnist_flax.train import train_and_evaluate


def short_config(**dataset):
    config = default.get_config()
    config.num_epochs = 1
    config.dataset.update(train_split='train[:700]', test_split='test[:200]', **dataset)
    return config


def test_the_same_config_gives_the_same_bits(tmp_path):
    results = [
        train_and_evaluate(short_config(), str(tmp_path / name)) for name in ('a', 'b')
    ]
    jax.tree.map(
        np.testing.assert_array_equal, results[0].state.params, results[1].state.params
    )
    assert results[0].history == results[1].history
    for name in (
        'history.csv',
        'config.json',
        'accuracy_plot.png',
        'sample_predictions.png',
    ):
        first, second = (tmp_path / run / name for run in ('a', 'b'))
        assert first.read_bytes() == second.read_bytes()


def test_fashion_mnist_differs_in_its_data_only():
    config = fashion_mnist.get_config()
    assert config.dataset.name == 'fashion_mnist'
    config.dataset.name = 'mnist'
    assert config.to_dict() == default.get_config().to_dict()


def test_fast_differs_in_its_recipe_only():
    config = fast.get_config()
    assert config.num_epochs == 2
    config.num_epochs = default.get_config().num_epochs
    config.optimizer = default.get_config().optimizer
    assert config.to_dict() == default.get_config().to_dict()


def test_every_default_is_explained_on_its_line():
    with open(default.__file__) as file:
        settings = [line for line in file if line.strip().startswith('config.')]
    leaves = [line for line in settings if 'ConfigDict()' not in line]
    assert len(leaves) >= 15
    assert all('  # ' in line for line in leaves)


def test_one_epoch_reaches_97_5_per_cent(mnist):
    """The gate on real MNIST: the mean of three seeds after one epoch."""
    config = default.get_config()
    model = models.create_model(**config.model)
    num_steps = run.steps_per_epoch(60_000, config.batch_size)
    optimizer = optimizers.create_optimizer(**config.optimizer, num_steps=num_steps)
    mesh = devices.make_mesh(2, config.batch_size)
    images, labels, *test = devices.replicate(mesh, (*mnist.train, *mnist.test))
    accuracies = []
    for seed in range(3):
        state = run.create_train_state(mesh, model, optimizer, seed)
        state, _ = run.train_epoch(mesh, state, images, labels, config.batch_size)
        accuracies.append(run.evaluate(mesh, state, *test).means()[1])
    assert np.mean(accuracies) >= 0.975, accuracies


@pytest.mark.slow
def test_the_default_run_reaches_what_the_readme_says(tmp_path):
    """One seed of the README's table, 99.24 ± 0.05 %, less five standard deviations."""
    result = train_and_evaluate(default.get_config(), str(tmp_path))
    assert result.metrics['test_accuracy'] >= 0.99
    assert result.metrics['test_loss'] < 0.035


@pytest.mark.slow
def test_the_fast_config_reaches_99_per_cent(tmp_path):
    """Three of the ten seeds of the README: 99.11 ± 0.09 %."""
    accuracies = []
    for seed in range(3):
        config = fast.get_config()
        config.seed = seed
        result = train_and_evaluate(config, str(tmp_path))
        accuracies.append(result.metrics['test_accuracy'])
    assert np.mean(accuracies) >= 0.99, accuracies
