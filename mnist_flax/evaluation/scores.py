"""Scores of probabilities: losses, scores of classes, temperature, area under the ROC."""

import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from jaxtyping import Float, Int

from mnist_flax.common.intervals import NORMAL_97_5, wilson_interval


def true_class_losses(
    probabilities: Float[np.ndarray, 'examples classes'],
    labels: Int[np.ndarray, 'examples'],
) -> Float[np.ndarray, 'examples']:
    """Computes the negative log likelihood of each label, in nats."""
    # A probability that is too small for a float is not zero.
    of_labels = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_labels, np.finfo(of_labels.dtype).tiny))


def brier_scores(
    probabilities: Float[np.ndarray, 'examples classes'],
    labels: Int[np.ndarray, 'examples'],
) -> Float[np.ndarray, 'examples']:
    """Computes the squared distance of each prediction to the truth, from 0 to 2.

    The score of Brier 1950, "Verification of forecasts expressed in terms of probability",
    as defined there: the sum over all classes.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return ((probabilities - truth) ** 2).sum(axis=1)


class ClassScores(NamedTuple):
    """Scores of each class, as fractions; nan where there is nothing to divide by."""

    precision: Float[np.ndarray, 'classes']  # correct among those predicted as the class
    recall: Float[np.ndarray, 'classes']  # correct among those of the class
    f1: Float[np.ndarray, 'classes']  # harmonic mean of both


def class_scores(counts: Int[np.ndarray, 'classes classes']) -> ClassScores:
    """Computes the scores of each class from a `metrics.confusion_matrix`."""
    correct, of_class, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid='ignore'):
        return ClassScores(
            correct / predicted, correct / of_class, 2 * correct / (of_class + predicted)
        )


def fit_temperature(
    probabilities: Float[np.ndarray, 'examples classes'],
    labels: Int[np.ndarray, 'examples'],
) -> float:
    """Finds the temperature with the least mean loss (Guo et al. 2017, arXiv 1706.04599).

    For an ensemble it divides the logarithms of the mean probabilities.

    Args:
      probabilities: Those of examples that were neither trained nor tested on.
      labels: Their classes.

    Returns:
      The temperature, from 0.1 to 10; above 1 if the network is too confident.
    """

    def mean_loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, math.exp(log_temperature))
        return float(true_class_losses(scaled, labels).mean())

    bounds = math.log(0.1), math.log(10)
    found = scipy.optimize.minimize_scalar(mean_loss, bounds=bounds, method='bounded')
    return math.exp(found.x)


def apply_temperature(
    probabilities: Float[np.ndarray, 'examples classes'], temperature: float
) -> Float[np.ndarray, 'examples classes']:
    """Divides the logits by a temperature; predictions stay the same."""
    logits = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
    return scipy.special.softmax(logits / temperature, axis=1)


def area_under_roc(
    inside: Float[np.ndarray, 'insiders'], outside: Float[np.ndarray, 'outsiders']
) -> tuple[float, tuple[float, float]]:
    """Measures how well scores separate two groups: 1 perfectly, 0.5 not at all.

    Args:
      inside: Scores of those that should have larger ones.
      outside: Scores of the others.

    Returns:
      The probability that one from inside has a larger score than one from outside, and
      its 95 % interval by the standard error of Hanley and McNeil 1982, "The meaning and
      use of the area under a receiver operating characteristic (ROC) curve". If the groups
      do not overlap, that error is 0 for any number of members; the interval is then
      Wilson's for as many successes as the smaller group has members.
    """
    m, n = len(inside), len(outside)
    ranks = scipy.stats.rankdata(np.concatenate([inside, outside]))
    area = float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    if area in (0.0, 1.0):
        least = min(m, n)
        return area, wilson_interval(least * area, least)
    variance = area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)
    half_width = NORMAL_97_5 * math.sqrt(max(variance, 0.0) / (m * n))
    return area, (max(0.0, area - half_width), min(1.0, area + half_width))


def mean_interval(values: Float[np.ndarray, 'examples']) -> tuple[float, float]:
    """Computes the normal 95 % interval of a mean over images; nan for one image."""
    if len(values) < 2:
        return math.nan, math.nan
    half_width = NORMAL_97_5 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half_width, float(values.mean()) + half_width
