"""How evenly images are spread over the classes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

# MNIST has 1.2 to 1.3 times as many images of a class as of another one.
_EVEN = 1.5

# More classes are not listed one by one.
_MOST_LISTED = 12


def is_uneven(labels: Int[np.ndarray, 'images']) -> bool:
    """Tells whether a class has more than 1.5 times the images of another that occurs."""
    counts = np.bincount(labels)
    return bool(counts.max() > _EVEN * counts[counts > 0].min())


def describe(labels: Int[np.ndarray, 'images'], class_names: Sequence[str]) -> str:
    """Says how many images the classes have; nothing if they have about the same."""
    counts = np.bincount(labels, minlength=len(class_names))
    if not is_uneven(labels) and counts.all():
        return ''
    if len(class_names) <= _MOST_LISTED:
        of_each = zip(class_names, counts.tolist(), strict=True)
        return ', '.join(f'{name}: {count:,}' for name, count in of_each)
    (occurring,) = np.nonzero(counts)
    least = int(occurring[counts[occurring].argmin()])
    most = int(counts.argmax())
    absent = len(counts) - len(occurring)
    return (
        f'from {counts[least]:,} ({class_names[least]}) to {counts[most]:,} '
        f'({class_names[most]})' + (f', none of {absent} classes' if absent else '')
    )


def balanced_accuracy(
    predictions: Int[np.ndarray, 'images'], labels: Int[np.ndarray, 'images']
) -> float:
    """Computes the mean over the classes that occur of the part that is recognised.

    Brodersen et al. 2010, "The balanced accuracy and its posterior distribution".
    """
    counts = np.bincount(labels)
    correct = np.bincount(labels, weights=predictions == labels)
    return float((correct[counts > 0] / counts[counts > 0]).mean())
