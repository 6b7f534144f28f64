import math

import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax.training import metrics


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
    expected = {'loss': pytest.approx(-math.log(0.7 * 0.4) / 2), 'accuracy': 0.5}
    assert totals.means() == expected
    assert metrics.totals(logits, labels).means()['accuracy'] == 1 / 3


def test_confusion_matrix_has_true_classes_in_rows():
    counts = metrics.confusion_matrix(
        np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 2, 0]), 3
    )
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 2]]
