"""How light the edges of images are: by that a picture of another kind is noticed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

# Images that are enough to know it, and brightnesses (of 255) that are alike.
_ENOUGH, _ALIKE = 10_000, 96


def measure(images: UInt8[np.ndarray, 'images _ _ _']) -> Float[np.ndarray, 'images']:
    """Measures the median brightness of the outermost pixels, from 0 to 255."""
    sides = [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]]
    edges = [side.reshape(len(images), -1) for side in sides]
    return np.median(np.concatenate(edges, axis=1), axis=1)


def find_usual(images: UInt8[np.ndarray, 'images _ _ _']) -> list[float]:
    """Finds the range in which the edges of nine of ten images are."""
    return np.quantile(measure(images[:_ENOUGH]), [0.05, 0.95]).tolist()


def explain_difference(image: UInt8[np.ndarray, '_ _ _'], usual: Sequence[float]) -> str:
    """Says in which way the edge of an image is unlike the usual ones, '' if in none."""
    (edge,), (least, most) = measure(image[None]), usual
    if least - _ALIKE <= edge <= most + _ALIKE:
        return ''
    found, others = ('light', 'dark') if edge > most else ('dark', 'light')
    return f'its edge is {found}, and that of the training images was {others}'
