"""Standard linen models, which know nothing of this project, train by config alone."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from small_runs import create_state, follow, of_first

from configs import default
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import devices, run
from mnist_flax.training.plan import make_plan
from mnist_flax.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures('without_figures')


class Plain(nn.Module):
    """Dropout and batch norm as in linen's own documentation."""

    rate: float

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(16)(x.reshape(len(x), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(10)(nn.Dropout(self.rate, deterministic=not train)(x))


class Counting(nn.Module):
    """Other collections: a counter, spectral norm's own; and ``deterministic``."""

    @nn.compact
    def __call__(self, x, deterministic: bool):
        steps = self.variable('counter', 'steps', lambda: jnp.zeros((), jnp.int32))
        if not deterministic and not self.is_initializing():
            steps.value += 1
        dense = nn.SpectralNorm(nn.Dense(10))
        return dense(x.reshape(len(x), -1), update_stats=not deterministic)


class Scaled(nn.Module):
    """A number that Python gave: JAX may take its type for another one's."""

    @nn.compact
    def __call__(self, x, train: bool):
        scale = self.variable('scale', 'mean', lambda: jnp.asarray(1.0))
        if train and not self.is_initializing():
            scale.value = 0.9 * scale.value + 0.1 * jnp.mean(x)
        return nn.Dense(10)(x.reshape(len(x), -1) / scale.value)


class Masked(nn.Module):
    """Has a constant that is infinite, as the mask of an attention."""

    @nn.compact
    def __call__(self, images):
        mask = self.variable('constants', 'mask', lambda: jnp.float32(-jnp.inf))
        pixels = jnp.maximum(images.reshape(len(images), -1), mask.value)
        return nn.Dense(10)(pixels)


def tiny(constructor, **fields):
    config = default.get_config()
    config.num_epochs = 2
    config.dataset.update({'train_split': 'train[:256]', 'test_split': 'test[:64]'})
    config.model = ConfigDict({'constructor': f'test_any_model.{constructor}', **fields})
    return config


def plan_on(num_devices, config):
    config.num_devices = num_devices
    return make_plan(config)


def train(plan):
    ((result,),) = list(Trainer(plan, show=False).train())
    return result


@pytest.mark.slow
def test_dropout_and_a_plain_batch_norm_train_and_resume_to_the_same_bits(tmp_path):
    config = tiny('Plain', rate=0.5)
    config.num_devices = 2
    config.schedule.constructor = 'constant'
    (expected,) = train_and_evaluate(config, str(tmp_path / 'whole')).runs
    config.num_epochs = 1
    train_and_evaluate(config, str(tmp_path / 'half'))
    config.num_epochs = 2
    (resumed,) = train_and_evaluate(config, str(tmp_path / 'half')).runs
    assert resumed.rows == expected.rows
    jax.tree.map(np.testing.assert_array_equal, resumed.variables, expected.variables)
    losses = expected.history['train_loss']
    assert losses[1] < losses[0]
    # The finished run is a network that can be loaded.
    networks = load_networks(str(tmp_path / 'half'), 'test_any_model.Plain')
    images = np.asarray(make_plan(config).dataset.test.images)
    np.testing.assert_allclose(
        networks.logits(images)[0], resumed.logits, rtol=1e-4, atol=1e-5
    )


def test_dropout_is_drawn_anew_for_each_step_and_run():
    plan = plan_on(1, tiny('Plain', rate=0.5))
    images, labels = (array[:64] for array in plan.dataset.train)
    first = of_first(create_state(plan.mesh, plan.recipe))
    step = functools.partial(run.train_step, recipe=plan.recipe)
    step = jax.jit(jax.vmap(step, axis_name=devices.DATA))

    def loss(**changes):
        """Takes a step on the same images with the same parameters."""
        everything = jnp.ones(64, bool), jnp.arange(64)
        batch = jax.tree.map(lambda array: array[None], (images, labels, *everything))
        state = jax.tree.map(lambda leaf: leaf[None], first.replace(**changes))
        _, totals = step(state, *batch)
        return float(totals.loss[0])

    assert loss() == loss()
    assert len({loss(), loss(step=jnp.int32(1)), loss(key=jax.random.key(5))}) == 3


def test_devices_keep_the_same_batch_statistics():
    """Averages over the devices: whichever is asked, it says the same."""
    plan = plan_on(2, tiny('Plain', rate=0.0))
    arrays = tuple(np.asarray(array) for array in plan.dataset.train)
    state, _ = follow(plan.mesh, plan.recipe, arrays, num_steps=4, batch_size=64)
    for leaf in jax.tree.leaves((state.params, state.model_state)):
        first, second = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        np.testing.assert_array_equal(first, second)
    means = state.model_state['batch_stats']['BatchNorm_0']['mean']
    # One device takes the mean of the whole batch, which is the mean of both halves.
    alone, _ = follow(
        devices.make_mesh(1, 64), plan.recipe, arrays, num_steps=1, batch_size=64
    )
    halves, _ = follow(plan.mesh, plan.recipe, arrays, num_steps=1, batch_size=64)
    np.testing.assert_allclose(
        halves.model_state['batch_stats']['BatchNorm_0']['mean'],
        alone.model_state['batch_stats']['BatchNorm_0']['mean'],
        rtol=1e-4,
        atol=1e-6,
    )
    assert np.abs(means).max() > 0


def test_a_collection_may_begin_with_a_number_of_python():
    result = train(plan_on(2, tiny('Scaled')))
    assert 0.1 < result.variables['scale']['mean'] < 1
    assert np.isfinite(result.logits).all()


@pytest.mark.parametrize('ema_decay', [0.0, 0.9])
def test_every_collection_is_carried_through_training(ema_decay):
    config = tiny('Counting')
    config.ema_decay = ema_decay
    result = train(plan_on(2, config))
    assert set(result.variables) == {'params', 'counter', 'batch_stats'}
    assert result.variables['counter']['steps'] == 2 * 2  # 256 images in batches of 128
    assert result.variables['counter']['steps'].dtype == np.int32
    assert np.isfinite(result.logits).all()


@pytest.mark.parametrize('ema_decay', [0.0, 0.9])
def test_a_model_with_an_infinite_constant_is_saved_and_loaded(tmp_path, ema_decay):
    config = tiny('Masked')
    config.ema_decay = ema_decay
    train_and_evaluate(config, str(tmp_path))
    checkpoints = tmp_path / 'checkpoints/runs_0-0'
    assert {path.name for path in checkpoints.iterdir()} == {'2', '4'}
    networks = load_networks(tmp_path, 'test_any_model.Masked')
    assert np.isneginf(networks.variables['constants']['mask']).all()
