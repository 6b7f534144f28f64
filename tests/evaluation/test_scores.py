import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as theirs

from mnist_flax.evaluation.evaluation import scores
from mnist_flax.training import metrics


def draw_predictions(seed, number=300, temperature=1.0):
    """Draws labels from the probabilities themselves, which makes them calibrated."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(number, 10))
    probabilities = softmax(logits, axis=1)
    labels = np.array([rng.choice(10, p=row) for row in probabilities])
    return softmax(logits / temperature, axis=1), labels


def test_scores_are_those_of_scikit_learn():
    probabilities, labels = draw_predictions(0)
    loss = scores.true_class_losses(probabilities, labels).mean()
    assert loss == pytest.approx(theirs.log_loss(labels, probabilities))
    brier = scores.brier_scores(probabilities, labels).mean()
    truth = np.eye(10)[labels]
    assert brier == pytest.approx(10 * theirs.mean_squared_error(truth, probabilities))
    predictions = probabilities.argmax(axis=1)
    counts = metrics.confusion_matrix(labels, predictions, 10)
    expected = theirs.precision_recall_fscore_support(labels, predictions)[:3]
    np.testing.assert_allclose(scores.class_scores(counts), expected)


def test_a_class_that_is_not_there_has_no_scores():
    precision, recall, f1 = scores.class_scores(np.array([[3, 0], [0, 0]]))
    assert (precision[0], recall[0], f1[0]) == (1, 1, 1)
    assert np.isnan([precision[1], recall[1], f1[1]]).all()


def test_an_impossible_label_costs_a_finite_loss():
    loss = scores.true_class_losses(np.array([[1.0, 0.0]]), np.array([1]))
    assert loss[0] == pytest.approx(708.4, abs=0.1)  # -log of the smallest normal double


@pytest.mark.parametrize('wrong', [0.5, 1.0, 2.0])
def test_the_temperature_undoes_what_was_wrong(wrong):
    probabilities, labels = draw_predictions(1, 4000, temperature=1 / wrong)
    assert scores.fit_temperature(probabilities, labels) == pytest.approx(wrong, rel=0.1)


def test_a_temperature_leaves_predictions_and_calibrates():
    probabilities, labels = draw_predictions(2, 4000, temperature=0.3)
    scaled = scores.apply_temperature(
        probabilities, scores.fit_temperature(probabilities, labels)
    )
    np.testing.assert_array_equal(scaled.argmax(axis=1), probabilities.argmax(axis=1))
    before, after = (
        metrics.calibration_error(of, labels) for of in (probabilities, scaled)
    )
    assert before > 0.2
    assert after < 0.05


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
)
def test_the_area_is_the_share_of_pairs_in_order(inside, outside):
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


def test_few_images_that_are_told_apart_are_no_certainty():
    area, (low, high) = scores.area_under_roc(np.ones(1000), np.zeros(3))
    assert (area, high) == (1, 1)
    assert low == pytest.approx(metrics.wilson_interval(3, 3)[0])
    assert scores.area_under_roc(np.zeros(3), np.ones(9))[1][0] == 0


def test_one_image_has_no_interval():
    assert np.isnan(scores.mean_interval(np.ones(1))).all()


def test_the_mean_is_within_its_interval_as_often_as_it_says():
    rng = np.random.default_rng(0)
    within = 0
    for _ in range(1000):
        low, high = scores.mean_interval(rng.exponential(size=200))
        within += low <= 1 <= high
    assert 920 <= within <= 965


def test_bins_hold_every_example_once():
    probabilities, labels = draw_predictions(3)
    bins = metrics.confidence_bins(probabilities, labels)
    assert bins.examples.sum() == len(labels)
    confidence = probabilities.max(axis=1)
    assert bins.confidence.sum() == pytest.approx(confidence.sum())
    sure = confidence >= 14 / 15
    assert bins.examples[-1] == sure.sum()
    assert bins.correct[-1] == (probabilities.argmax(axis=1) == labels)[sure].sum()
