"""Evaluator: accuracy on images that were made worse in seven ways."""

from collections.abc import Callable

import jax
import numpy as np

from mnist_flax.common.errors import require
from mnist_flax.data.datasets import Dataset
from mnist_flax.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def corruptions(
    dataset: Dataset, severity: int = 3, num_images: int = 1000
) -> Callable[..., dict[str, float]]:
    """Measures runs on validation images with noise, blur, and so on.

    With ``config.dataset.validation = 'holdout'`` these are held-out images, so that a
    choice made by these numbers does not use the test set. By default they are test images.

    Args:
      dataset: That of the runs.
      severity: How much worse, from 1 to 5.
      num_images: How many, from the first one on; 0 = all. Each is predicted in 7 ways.

    Returns:
      The evaluator, which returns the accuracy (a fraction) for each of `CORRUPTIONS`, and
      their ``mean``. For the same images they are the numbers of ``scripts/evaluate.py``.

    Raises:
      UserError: There are not as many images, or there is no such severity.
    """
    examples = dataset.validation
    available = len(examples.labels)
    require(
        severity in SEVERITIES,
        f'config.evaluators.*.severity: found {severity}; allowed: '
        f'{", ".join(map(str, SEVERITIES))}',
    )
    require(
        0 <= num_images <= available,
        f'config.evaluators.*.num_images: found {num_images}; allowed: 0 (all) to '
        f'{available}, the number of {dataset.validation_name} images',
    )
    images, labels = examples.slice(0, num_images or None)
    worse = np.concatenate(
        [
            corrupt(name, severity, _key(number, severity), images)
            for number, name in enumerate(CORRUPTIONS)
        ]
    )

    def measure(predict: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        predictions = predict(worse).argmax(axis=1).reshape(len(CORRUPTIONS), len(labels))
        accuracies = (predictions == labels).mean(axis=1).tolist()
        return {
            **dict(zip(CORRUPTIONS, accuracies, strict=True)),
            'mean': sum(accuracies) / len(accuracies),
        }

    return measure


def _key(number: int, severity: int) -> jax.Array:
    # As in `evaluation.measure_corruptions`.
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(0), number), severity)
