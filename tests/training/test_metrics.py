import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.training import metrics


def test_losses_are_minus_the_log_probability_of_the_label():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
    losses = metrics.losses(logits, jnp.array([0, 1]))
    np.testing.assert_allclose(losses, [-math.log(0.7), -math.log(0.25)], rtol=1e-6)


def test_smoothed_losses_by_hand():
    probabilities = [0.7, 0.2, 0.1]
    (loss,) = metrics.losses(jnp.log(jnp.array([probabilities])), jnp.array([0]), 0.3)
    targets = [0.8, 0.1, 0.1]  # 0.7 of the label, and 0.3 spread over all three
    expected = -sum(t * math.log(p) for t, p in zip(targets, probabilities, strict=True))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_calibration_error_by_hand():
    # Two bins of four examples: 0.9 sure and right 3 of 4 times, 0.6 sure and always right.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 4)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    expected = (4 * abs(0.9 - 0.75) + 4 * abs(0.6 - 1.0)) / 8
    assert metrics.calibration_error(probabilities, labels) == pytest.approx(expected)
    assert metrics.calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_is_correct():
    logits = jnp.array([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]])
    assert metrics.is_correct(logits, jnp.array([1, 1, 1])).tolist() == [True, False, True]


def test_totals_count_the_masked_examples_only():
    logits = jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]))
    labels = jnp.array([0, 0, 1])
    totals = metrics.totals(logits, labels, jnp.array([True, True, False]))
    assert totals.means() == (pytest.approx(-math.log(0.7 * 0.4) / 2), 0.5)
    assert metrics.totals(logits, labels).means()[1] == 1 / 3


def test_confusion_matrix_has_true_classes_in_rows():
    counts = metrics.confusion_matrix(
        np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 2, 0]), 3
    )
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 2]]


def test_wilson_interval_by_hand():
    # Ten of ten: centre (1 + z²/20) / (1 + z²/10), from below only.
    low, high = metrics.wilson_interval(10, 10)
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 10))
    assert high == pytest.approx(1.0)


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_accuracy_and_stays_in_range(counts):
    correct, total = counts
    low, high = metrics.wilson_interval(correct, total)
    assert -1e-12 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1 + 1e-12


def test_wilson_s_interval_stays_within_fractions():
    for number in range(1, 1000):
        assert metrics.wilson_interval(0, number)[0] >= 0
        assert metrics.wilson_interval(number, number)[1] <= 1
