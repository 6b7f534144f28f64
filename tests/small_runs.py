"""Small recipes, their training and what is compared of it, for the tests of runs."""

import jax
import numpy as np
from ml_collections import ConfigDict

from mnist_flax.data import augment
from mnist_flax.models import cnn
from mnist_flax.recipe import objective, optimizers
from mnist_flax.training import devices, population, run
from mnist_flax.training.devices import on_mesh
from mnist_flax.training.run import Recipe


def create_optimizer(num_steps=1, steps_per_epoch=1, schedule=None, **settings):
    schedule = ConfigDict(schedule or {'constructor': 'constant'})
    settings = ConfigDict({'constructor': 'adam', 'learning_rate': 1e-3, **settings})
    return optimizers.create_optimizer(settings, schedule, num_steps, steps_per_epoch)


ADAM = create_optimizer()


def create_recipe(features, hidden_size, conv='xla', dtype='float32'):
    model = cnn.create_model(features, hidden_size, 10, conv, dtype, 0.0, False)
    return Recipe(model, ADAM, augment=None, ema_decay=0.0)


def create_state(mesh, recipe, *seeds):
    seeds = seeds or (0,)
    rates = {'optimizer.learning_rate': [1e-3] * len(seeds)}
    return population.init(mesh, recipe, seeds, rates)


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
    totals = population.no_totals(mesh, recipe, state)
    rows = []
    for i in range(num_steps):
        bounds = np.array([i, i + 1])
        state, totals = steps(state, totals, order, images, labels, bounds)
        rows.append(jax.device_get((state.params, totals)))
    return state, rows


INGREDIENTS = {
    'optimizer.learning_rate': 3e-3,
    'optimizer.weight_decay': 5.0,
    'loss.label_smoothing': 0.1,
    'model.dropout_rate': 0.4,
    'augment.strength': 1.0,
}


def create_rich_recipe(weight_decay=5.0, label_smoothing=0.1):
    """A recipe with everything that the default has not."""
    optimizer = create_optimizer(
        constructor='adamw', weight_decay=weight_decay, clip_norm=1.0, num_steps=20,
        schedule={'constructor': 'onecycle', 'warmup': 0.3},
    )  # fmt: skip
    loss = {'constructor': 'cross_entropy', 'label_smoothing': label_smoothing}
    return Recipe(
        model=cnn.create_model((4, 8), 16, 10, 'xla', 'float32', 0.4, True),
        optimizer=optimizer,
        augment=augment.create_augment(10.0, 0.1, 0.1, 2.0, 0.5, 0.3),
        ema_decay=0.9,
        loss=objective.create_loss(ConfigDict(loss)),
        configured=f'{weight_decay} {label_smoothing}',
    )


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
