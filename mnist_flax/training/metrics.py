"""Logits and labels to numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int


class EpochMetrics(NamedTuple):
    """What is known after an epoch; losses in nats an example, accuracies as fractions."""

    epoch: int  # counted from 1
    train_loss: float  # of the predictions made while learning, as are training accuracies
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


class Totals(NamedTuple):
    """Sums over examples, from which the exact means follow."""

    loss: Float[Array, '...']  # nats
    correct: Int[Array, '...']
    finite: Int[Array, '...']  # examples whose loss is neither infinite nor not a number
    examples: Int[Array, '...']

    def means(self) -> tuple[float, float]:
        """Returns the loss (nats an example) and the accuracy (a fraction)."""
        examples = int(self.examples)
        return float(self.loss) / examples, int(self.correct) / examples

    def by_run(self) -> list['Totals']:
        """Splits totals with an axis of runs, which must be on this host, by run."""
        return [Totals(*numbers) for numbers in zip(*jax.device_get(self), strict=True)]


def no_totals() -> Totals:
    """Starts a sum."""
    return Totals(jnp.zeros(()), *[jnp.zeros((), jnp.int32)] * 3)


def totals(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'],
    mask: Bool[Array, 'batch'] | None = None,
) -> Totals:
    """Sums loss and correct predictions over the examples, or over those in ``mask``."""
    mask = jnp.ones(len(labels), bool) if mask is None else mask
    of_each = losses(logits, labels)
    return Totals(
        jnp.sum(of_each, where=mask),
        jnp.sum(is_correct(logits, labels), where=mask),
        jnp.sum(jnp.isfinite(of_each), where=mask),
        mask.sum(),
    )


def losses(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'],
    smoothing: Float[Array, ''] | float | None = None,
) -> Float[Array, 'batch']:
    """Sparse categorical cross-entropy of each example, in nats.

    Args:
      logits: The network's answers.
      labels: The right ones.
      smoothing: Part of a label's probability that is spread over all classes (Szegedy et
        al. 2016, arXiv 1512.00567).
    """
    if smoothing is None:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def is_correct(
    logits: Float[Array, 'batch classes'], labels: Int[Array, 'batch']
) -> Bool[Array, 'batch']:
    """Tells for each example whether its largest logit is that of its label."""
    return jnp.argmax(logits, axis=-1) == labels


def calibration_error(
    probabilities: Float[np.ndarray, 'examples classes'],
    labels: Int[np.ndarray, 'examples'],
    num_bins: int = 15,
) -> float:
    """Measures how far confidence is from accuracy, as a fraction.

    The expected calibration error of Guo et al. 2017, arXiv 1706.04599: the predictions are
    put in bins of equal width by their confidence, and the absolute differences of mean
    confidence and accuracy are averaged over the bins, each by its number of examples.

    Args:
      probabilities: What the network says of each example.
      labels: The right classes.
      num_bins: How many bins; theirs is 15.
    """
    bins = confidence_bins(probabilities, labels, num_bins)
    return float(np.abs(bins.confidence - bins.correct).sum() / len(labels))


class ConfidenceBins(NamedTuple):
    """Predictions in bins of equal width by their confidence."""

    examples: Int[np.ndarray, 'bins']
    confidence: Float[np.ndarray, 'bins']  # sum over the examples
    correct: Float[np.ndarray, 'bins']  # number of them


def confidence_bins(
    probabilities: Float[np.ndarray, 'examples classes'],
    labels: Int[np.ndarray, 'examples'],
    num_bins: int = 15,
) -> ConfidenceBins:
    """Sorts predictions into bins by their confidence, as in `calibration_error`."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    return ConfidenceBins(
        np.bincount(bins, minlength=num_bins),
        np.bincount(bins, weights=confidence, minlength=num_bins),
        np.bincount(bins, weights=correct, minlength=num_bins),
    )


def confusion_matrix(
    labels: Int[np.ndarray, 'examples'],
    predictions: Int[np.ndarray, 'examples'],
    num_classes: int,
) -> Int[np.ndarray, 'num_classes num_classes']:
    """Counts examples by true class (row) and predicted class (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
