"""Scores of probabilities, compared with scikit-learn, papers and arithmetic."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as theirs

from mnist_flax.common import intervals
from mnist_flax.evaluation import scores
from mnist_flax.training import metrics


def draw_predictions(seed, number=300, temperature=1.0):
    """Draws labels from the probabilities themselves, which makes them calibrated."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(number, 10))
    probabilities = softmax(logits, axis=1)
    labels = np.array([rng.choice(10, p=row) for row in probabilities])
    return softmax(logits / temperature, axis=1), labels


def test_scores_are_those_of_scikit_learn_and_intervals_those_of_scipy():
    probabilities, labels = draw_predictions(0)
    losses = scores.true_class_losses(probabilities, labels)
    assert losses.mean() == pytest.approx(theirs.log_loss(labels, probabilities))
    brier = scores.brier_scores(probabilities, labels).mean()
    truth = np.eye(10)[labels]
    assert brier == pytest.approx(10 * theirs.mean_squared_error(truth, probabilities))
    expected = scipy.stats.norm.interval(0.95, losses.mean(), scipy.stats.sem(losses))
    np.testing.assert_allclose(scores.mean_interval(losses), expected)
    predictions = probabilities.argmax(axis=1)
    counts = metrics.confusion_matrix(labels, predictions, 10)
    expected = theirs.precision_recall_fscore_support(labels, predictions)[:3]
    np.testing.assert_allclose(scores.class_scores(counts), expected)


def test_scores_without_examples_are_nan_and_losses_finite():
    found = np.array(scores.class_scores(np.array([[3, 0], [0, 0]])))
    np.testing.assert_array_equal(found, [[1, np.nan]] * 3)
    assert np.isnan(scores.mean_interval(np.ones(1))).all()
    loss = scores.true_class_losses(np.array([[1.0, 0.0]]), np.array([1]))
    assert loss[0] == pytest.approx(708.4, abs=0.1)  # -log of the smallest normal double


@pytest.mark.parametrize('wrong', [0.3, 0.5, 1.0, 2.0])
def test_the_temperature_undoes_what_was_wrong(wrong):
    probabilities, labels = draw_predictions(1, 4000, temperature=1 / wrong)
    temperature = scores.fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(wrong, rel=0.1)
    scaled = scores.apply_temperature(probabilities, temperature)
    np.testing.assert_array_equal(scaled.argmax(axis=1), probabilities.argmax(axis=1))
    assert metrics.calibration_error(scaled, labels) < 0.05


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
)
def test_the_area_is_the_part_of_pairs_in_order(inside, outside):
    inside, outside = (np.array(of, float) for of in (inside, outside))
    pairs = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    area, (low, high) = scores.area_under_roc(inside, outside)
    assert area == pytest.approx(pairs.mean())
    assert 0 <= low <= area <= high <= 1


def test_the_interval_of_the_area_is_that_of_the_paper():
    # Hanley and McNeil 1982: 51 abnormal and 58 normal images, of which a radiologist's
    # grades give an area of 0.893, with a standard error of 0.032.
    grades = np.array([1, 2, 3, 4, 5], float)
    abnormal = np.repeat(grades, [3, 2, 2, 11, 33])
    normal = np.repeat(grades, [33, 6, 6, 11, 2])
    area, (low, high) = scores.area_under_roc(abnormal, normal)
    assert area == pytest.approx(0.893, abs=5e-4)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.032, abs=5e-4)
    # Few images that are separated perfectly are not certainty.
    area, (low, high) = scores.area_under_roc(np.ones(1000), np.zeros(3))
    assert (area, high) == (1, 1)
    assert low == pytest.approx(intervals.wilson_interval(3, 3)[0])
    assert scores.area_under_roc(np.zeros(3), np.ones(9))[1][0] == 0
