import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax.common.errors import UserError
from mnist_flax.recipe import losses

PROBABILITIES = [[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]
LOGITS = jnp.log(jnp.array(PROBABILITIES))
LABELS = jnp.array([0, 1])


def test_losses_are_minus_the_log_probability_of_the_label():
    found = losses.cross_entropy(LOGITS, LABELS)
    np.testing.assert_allclose(found, [-math.log(0.7), -math.log(0.25)], rtol=1e-6)


def test_smoothed_losses_by_hand():
    found = losses.cross_entropy(LOGITS, LABELS, 0.3)
    targets = [0.8, 0.1, 0.1]  # 0.7 of the label, and 0.3 spread over all three
    expected = -sum(t * math.log(p) for t, p in zip(targets, PROBABILITIES[0], strict=True))
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match='config.loss.label_smoothing: found 1.0; allowed'):
        losses.cross_entropy(LOGITS, LABELS, 1.0)


def test_the_focal_loss_by_hand():
    found = losses.focal(LOGITS, LABELS, 2.0)
    expected = [-(0.3**2) * math.log(0.7), -(0.75**2) * math.log(0.25)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    plain = losses.cross_entropy(LOGITS, LABELS)
    np.testing.assert_allclose(losses.focal(LOGITS, LABELS, 0.0), plain, rtol=1e-6)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_finite_gradient_for_any_logits(gamma):
    """Where the network is sure, a probability is 1 in 32 bits."""
    logits = jnp.array([[200.0, 0.0], [20.0, 0.0], [0.0, 20.0], [0.0, 90.0]])
    labels = jnp.zeros(4, jnp.int32)
    gradient = jax.grad(lambda x: losses.focal(x, labels, gamma).sum())(logits)
    assert np.isfinite(gradient).all()


def test_the_mean_squared_error_by_hand():
    logits = jnp.array([[1.0, 0.0], [3.0, 0.0]])
    found = losses.mean_squared_error(logits, jnp.array([0, 1]))
    np.testing.assert_allclose(found, [0.0, (9 + 1) / 2])
