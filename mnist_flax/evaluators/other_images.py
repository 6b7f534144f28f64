"""Evaluator: accuracy and loss on another data set, or another split."""

from collections.abc import Callable

import numpy as np
import scipy.special

from mnist_flax.common.errors import require
from mnist_flax.data import datasets
from mnist_flax.data.builders import Fields
from mnist_flax.data.datasets import Dataset

_FIELDS = Fields(*(f'config.evaluators.*.{name}' for name in ('name', 'data_dir', 'split')))


def split(
    dataset: Dataset, name: str, data_dir: str = '', split: str = 'test'
) -> Callable[..., dict[str, float]]:
    """Measures runs on the images of another data set, or of another split.

    Args:
      dataset: That of the runs, which has as many classes.
      name: TFDS name of the other data set, as in `datasets.load`.
      data_dir: TFDS directory that holds it, likewise.
      split: In TFDS's syntax, such as ``'test'`` or ``'train[:2000]'``.

    Returns:
      The evaluator, which returns ``accuracy`` (a fraction) and ``loss`` (nats an image).

    Raises:
      UserError: The images cannot be loaded, or have another shape or number of classes.
    """
    other = datasets.load_split(name, data_dir, split, _FIELDS)
    number, wanted = len(other.class_names), len(dataset.class_names)
    require(
        number == wanted,
        f'{_FIELDS.name}: {other.full_name} has {number} classes; it should have {wanted}, '
        f'like {dataset.full_name}',
    )
    images, labels = other.examples
    shape = dataset.train.images.shape[1:]
    require(
        images.shape[1:] == shape,
        f'{_FIELDS.name}: {other.full_name} has images of shape {images.shape[1:]}; it '
        f'should have {shape}, like {dataset.full_name}',
    )

    def measure(predict: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        logits = predict(images)
        log_probabilities = scipy.special.log_softmax(logits.astype(float), axis=1)
        return {
            'accuracy': float((logits.argmax(axis=1) == labels).mean()),
            'loss': -float(log_probabilities[np.arange(len(labels)), labels].mean()),
        }

    return measure
