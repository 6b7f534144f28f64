"""The network as an ONNX graph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax.data import datasets
from mnist_flax.export import onnx_graph
from mnist_flax.models.cnn import CNN


@pytest.mark.parametrize(('features', 'batch_norm'), [((2, 3), False), ((2, 5, 4), True)])
def test_the_graph_is_the_network_whatever_its_sizes(features, batch_norm, mnist):
    model = CNN(features, 7, 4, 'xla', 'float32', batch_norm)
    images = mnist.test.images[:20]
    variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    # Other numbers than those at the start, of which many are 0 or 1; a negative scale of
    # batch norm turns maxima into minima if it is applied too early.
    rng = np.random.default_rng(0)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, of: jnp.float32(
            abs(rng.normal(size=of.shape)) + 0.1
            if path[-1].key == 'var'
            else rng.normal(size=of.shape)
        ),
        variables,
    )
    content = onnx_graph.to_onnx(model, variables)
    expected = model.apply(variables, datasets.normalize(jnp.asarray(images)))
    logits = onnx_graph.run_onnx(content, [images])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
