"""Small recipes, their training and what is compared of it, for the tests of runs."""

import jax
import numpy as np

from mnist_flax.data import augment
from mnist_flax.models import cnn
from mnist_flax.training import devices, metrics, optimizers, population, run
from mnist_flax.training.devices import on_mesh
from mnist_flax.training.run import Recipe

ADAM = optimizers.create_optimizer(
    'adam', 1e-3, 0.0, 'constant', warmup=0.0, clip_norm=0.0, num_steps=1
)


def create_recipe(features, hidden_size, conv='xla', dtype='float32'):
    model = cnn.create_model(features, hidden_size, 10, conv, dtype, 0.0, False)
    return Recipe(model, ADAM, augment=None, ema_decay=0.0)


def create_state(mesh, recipe, *seeds):
    seeds = seeds or (0,)
    return population.init(mesh, recipe, seeds, {'learning_rate': [1e-3] * len(seeds)})


def means(totals):
    (only,) = totals.by_run()
    return only.means()


def assert_close_params(actual, expected):
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6),
        actual,
        expected,
    )


def of_first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


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
        'model': cnn.create_model((4, 8), 16, 10, 'xla', 'float32', 0.4, True),
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
    tested = population.eval_variables(mesh, recipe, state)
    logits = population.predict_logits(mesh, recipe, state, images)
    return jax.device_get((tested, logits, totals))
