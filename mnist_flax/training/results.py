"""What a run ended with, and what the runs of a population amount to."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from mnist_flax.common import intervals
from mnist_flax.data import balance
from mnist_flax.data.datasets import check_images, normalize
from mnist_flax.models import calls
from mnist_flax.training import metrics
from mnist_flax.training.metrics import Row
from mnist_flax.training.plan import RunPlan

# Of each run, in runs.csv and in metrics.json, before what else is measured.
NUMBERS = (
    'test_accuracy', 'test_loss', 'test_calibration_error', 'validation_accuracy',
    'validation_loss', 'train_accuracy', 'train_loss',
)  # fmt: skip


# Measured too where the test images of some classes are many more than of others.
_BALANCED = 'test_balanced_accuracy'

_BATCH_SIZE = 1000  # of the images that `RunResult.apply` takes at a time


class Divergence(NamedTuple):
    """Where a loss was first not finite."""

    epoch: int  # counted from 1
    step: int  # likewise, over all epochs
    learning_rate: float  # of that step


@dataclasses.dataclass(frozen=True)
class RunResult:
    """One run after its last epoch, on the host."""

    plan: RunPlan
    model: nn.Module
    rows: list[Row]  # those of history.csv, with the columns of `metrics.Row`
    logits: Float[np.ndarray, 'examples classes']  # of the test images
    variables: dict[str, Any]  # what these were computed with: parameters, batch statistics
    train_seconds: float  # of the runs side by side, divided by how many they can be
    diverged: Divergence | None  # None if it has not
    changes: tuple[str, ...] = ()  # of settings while it was trained
    image_shape: tuple[int, ...] = (28, 28, 1)  # height, width, channels
    matmul_precision: str = 'float32'  # with which it was trained

    @property
    def params(self) -> Any:
        """The parameters: with an EMA, their average."""
        return self.variables['params']

    @property
    def history(self) -> dict[str, Float[np.ndarray, 'epochs']]:
        """What was measured after each epoch, by column; nan where something was not."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {
            name: np.array([row.get(name, np.nan) for row in self.rows], float)
            for name in names
        }

    def apply(
        self, images: UInt8[np.ndarray, 'images height width channels'] | Any
    ) -> Float[np.ndarray, 'images classes']:
        """Computes the logits of images, in the form of the data.

        Raises:
          ValueError: The images are not uint8, or of another shape.
        """
        images = check_images(images, self.image_shape)
        batches = [images[i : i + _BATCH_SIZE] for i in range(0, len(images), _BATCH_SIZE)]
        with jax.default_matmul_precision(self.matmul_precision):
            logits = [
                np.asarray(_predict(self.model, self.variables, batch)) for batch in batches
            ]
        return np.concatenate(logits)

    def numbers(self, labels: Int[np.ndarray, 'examples']) -> dict[str, float]:
        """Measures the run; accuracies and calibration as fractions, losses in nats.

        All are not a number if it has diverged.
        """
        last = {name: of for name, of in self.rows[-1].items() if name != 'epoch'}
        if self.diverged is None:
            last |= test(_softmax(self.logits), labels)
        else:
            tested = [*NUMBERS[:3], *([_BALANCED] if balance.is_uneven(labels) else [])]
            last = dict.fromkeys([*tested, *last], math.nan)
        ordered = dict.fromkeys([*(of for of in NUMBERS if of in last), *last])
        return {name: last[name] for name in ordered}


@functools.partial(jax.jit, static_argnums=0)
def _predict(model: nn.Module, variables: Any, images: Any) -> Any:
    arguments = calls.eval_arguments(model)
    returned = model.apply(variables, normalize(images), **arguments)
    return calls.read_outputs(returned).logits


def count_parameters(result: RunResult) -> int:
    """Counts what a run has learned; batch norm's running statistics are not of it."""
    return sum(leaf.size for leaf in jax.tree.leaves(result.variables['params']))


def test(
    probabilities: Float[np.ndarray, 'examples classes'],
    labels: Int[np.ndarray, 'examples'],
) -> dict[str, float]:
    """Measures predictions of the test images."""
    predictions = probabilities.argmax(axis=1)
    of_label = probabilities[np.arange(len(labels)), labels]
    balanced = {}
    if balance.is_uneven(labels):
        balanced[_BALANCED] = balance.balanced_accuracy(predictions, labels)
    return {
        'test_accuracy': float((predictions == labels).mean()),
        **balanced,
        'test_loss': float(-np.log(np.maximum(of_label, 1e-300)).mean()),
        'test_calibration_error': metrics.calibration_error(probabilities, labels),
    }


def summarize_seeds(
    runs: Sequence[RunResult], labels: Int[np.ndarray, 'examples']
) -> dict[str, Any]:
    """Sums up runs that differ in their seeds only.

    Runs that diverged are counted, and left out of all else.

    Args:
      runs: The runs.
      labels: The labels of the test images.

    Returns:
      The spread of each number of `RunResult.numbers` over the seeds, the interval that the
      sampling of test images leaves, and the ensemble.
    """
    finite = [run for run in runs if run.diverged is None]
    num_diverged = len(runs) - len(finite)
    summary: dict[str, Any] = {'num_runs': len(runs), 'num_diverged': num_diverged}
    if not finite:
        return summary
    numbers = [run.numbers(labels) for run in finite]
    # A run that was finished before an evaluator was named lacks its numbers.
    for name in (name for name in numbers[0] if all(name in of for of in numbers)):
        spread = intervals.summarize([run[name] for run in numbers])
        summary[name] = intervals.to_dict(spread)
    summary['test_accuracy_95_percent_interval_of_images'] = intervals.wilson_interval(
        summary['test_accuracy']['mean'] * len(labels), len(labels)
    )
    # All runs are members: none is chosen by what it says of the test set.
    probabilities = np.mean([_softmax(run.logits) for run in finite], axis=0)
    summary['ensemble'] = {'size': len(finite), **test(probabilities, labels)}
    return summary


def _softmax(logits):
    # In 64 bits: in 32 a probability is 1 from a margin of 17 nats on.
    # Imported here so that training need not wait for it.
    import scipy.special

    return scipy.special.softmax(logits.astype(np.float64), axis=-1)
