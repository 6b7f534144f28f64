"""The networks of configs/resnet.py and configs/vit.py, as a user would write them."""

import jax
import jax.numpy as jnp
import pytest

from configs import resnet, vit
from mnist_flax.models import calls
from mnist_flax.models.slow_ops import find_slow
from mnist_flax.training.plan import make_plan


@pytest.mark.parametrize(
    ('config', 'parameters'),
    [
        pytest.param(resnet.get_config(), 19_642, marks=pytest.mark.slow),
        (vit.get_config(), 105_418),
    ],
)
def test_their_training_has_no_slow_operation(config, parameters):
    config.dataset.update({'train_split': 'train[:256]', 'test_split': 'test[:64]'})
    model = make_plan(config).recipe.model
    images = jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params'])) == parameters

    def train(params, others):
        logits, _ = model.apply(
            {'params': params, **others},
            images,
            **calls.train_arguments(model, dropout=None, axis_name='batch'),
            rngs={'dropout': jax.random.key(0)},
            mutable=True,
        )
        assert logits.shape == (2, 10)
        return logits.sum()

    params, others = variables.pop('params'), variables
    step = jax.vmap(jax.grad(train), axis_name='batch', axis_size=1, in_axes=None)
    assert find_slow(jax.make_jaxpr(step)(params, others)) == []
