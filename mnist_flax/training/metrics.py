"""Logits and labels to numbers."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mnist_flax.recipe.losses import cross_entropy
from mnist_flax.training import devices

# What is known of a run after an epoch, by the columns of history.csv: those of
# `row_columns`, and what `config.metrics` and `config.evaluators` measure.
Row: TypeAlias = dict[str, float | int]


def row_columns(role: Literal['test', 'validation']) -> tuple[str, ...]:
    """Lists what is known of every epoch.

    Its number, from 1; cross-entropies in nats an example; accuracies as fractions. Those
    of training are of the predictions made while learning.

    Args:
      role: Of the images that a run is validated on, see `Dataset.validation_role`.
    """
    return (
        'epoch', 'train_loss', 'train_accuracy', f'{role}_loss', f'{role}_accuracy'
    )  # fmt: skip


class Totals(NamedTuple):
    """Sums over examples, from which the exact means follow."""

    loss: Float[Array, '...']  # nats
    correct: Int[Array, '...']
    finite: Int[Array, '...']  # examples whose loss is neither infinite nor not a number
    examples: Int[Array, '...']
    others: dict[str, Float[Array, '...']] = {}  # noqa: RUF012  # of `config.metrics`
    logged: dict[str, Float[Array, '...']] = {}  # noqa: RUF012  # sums over logged steps

    def means(self) -> dict[str, float]:
        """Returns the loss (nats an example), the accuracy (a fraction) and the others."""
        examples = int(self.examples)
        return {
            'loss': float(self.loss) / examples,
            'accuracy': int(self.correct) / examples,
            **{name: float(total) / examples for name, total in self.others.items()},
        }

    def by_run(self) -> list['Totals']:
        """Splits totals with an axis of runs by run."""
        host = devices.fetch(self)
        return [
            jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(len(host.examples))
        ]


def no_totals(others: Iterable[str] = (), logged: Iterable[str] = ()) -> Totals:
    """Starts a sum, with numbers of these names."""
    none, count = jnp.zeros(()), jnp.zeros((), jnp.int32)
    named = [dict.fromkeys(names, none) for names in (others, logged)]
    return Totals(none, count, count, count, *named)


def totals(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'],
    mask: Bool[Array, 'batch'] | None = None,
) -> Totals:
    """Sums loss and correct predictions over the examples, or over those in ``mask``."""
    mask = jnp.ones(len(labels), bool) if mask is None else mask
    of_each = cross_entropy(logits, labels)
    return Totals(
        jnp.sum(of_each, where=mask),
        jnp.sum(is_correct(logits, labels), where=mask),
        jnp.sum(jnp.isfinite(of_each), where=mask),
        mask.sum(),
    )


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
