"""Logits and labels to numbers."""

import math
from typing import NamedTuple

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

    loss: Float[Array, '']  # nats
    correct: Int[Array, '']
    examples: Int[Array, '']

    def means(self) -> tuple[float, float]:
        """Returns the loss (nats an example) and the accuracy (a fraction)."""
        examples = int(self.examples)
        return float(self.loss) / examples, int(self.correct) / examples


def no_totals() -> Totals:
    """Starts a sum."""
    return Totals(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def totals(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'],
    mask: Bool[Array, 'batch'] | None = None,
) -> Totals:
    """Sums loss and correct predictions over the examples, or over those in ``mask``."""
    mask = jnp.ones(len(labels), bool) if mask is None else mask
    return Totals(
        jnp.sum(losses(logits, labels), where=mask),
        jnp.sum(is_correct(logits, labels), where=mask),
        mask.sum(),
    )


def losses(
    logits: Float[Array, 'batch classes'], labels: Int[Array, 'batch']
) -> Float[Array, 'batch']:
    """Sparse categorical cross-entropy of each example, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def is_correct(
    logits: Float[Array, 'batch classes'], labels: Int[Array, 'batch']
) -> Bool[Array, 'batch']:
    """Tells for each example whether its largest logit is that of its label."""
    return jnp.argmax(logits, axis=-1) == labels


def confusion_matrix(
    labels: Int[np.ndarray, 'examples'],
    predictions: Int[np.ndarray, 'examples'],
    num_classes: int,
) -> Int[np.ndarray, 'num_classes num_classes']:
    """Counts examples by true class (row) and predicted class (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Gives the 95 % interval of an accuracy measured on a sample of images.

    The score interval of Wilson (1927), "Probable inference, the law of succession, and
    statistical inference": unlike the normal one it stays within [0, 1] and holds near 1.

    Args:
      correct: Number of images recognised.
      total: Number of images, at least 1.

    Returns:
      Lower and upper bound, as fractions.
    """
    z = 1.959964  # 97.5 % point of the standard normal distribution
    p = correct / total
    centre = p + z**2 / (2 * total)
    half_width = z * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return (centre - half_width) / scale, (centre + half_width) / scale
