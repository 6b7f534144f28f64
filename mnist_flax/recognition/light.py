"""The light on a picture: a smooth surface, or the edges of shadows, and how to even it."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

Gray = Float[np.ndarray, 'height width']

# Of the picture's shorter side: what is narrower is drawn, what is wider is a shadow.
_WINDOW = 0.4

# Brightness below which nothing is divided by it.
_DARKEST = 0.03


def fit_surface(gray: Gray, degree: int) -> Gray:
    """Fits a polynomial to most of the pixels, leaving out those far from it."""
    rows, columns = (np.linspace(-1, 1, size) for size in gray.shape)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    # A few thousand pixels tell as much as all.
    down, right = (max(1, size // 64) for size in gray.shape)
    few = gray[::down, ::right]
    y, x = np.meshgrid(rows[::down], columns[::right], indexing='ij')
    terms = np.stack([y**i * x**j for i, j in powers], axis=-1).reshape(-1, len(powers))
    values = few.ravel()
    kept = np.ones(len(values), bool)
    for _ in range(20):
        factors, *_ = np.linalg.lstsq(terms[kept], values[kept], rcond=None)
        away = np.abs(values - terms @ factors)
        # Three standard deviations of normal noise, from the nearer half.
        limit = max(3 * 1.4826 * float(np.median(away)), 1e-3)
        now = away <= limit
        if (now == kept).all():
            break
        kept = now
    matrix = np.zeros((degree + 1, degree + 1))
    matrix[tuple(np.transpose(powers))] = factors
    return np.polynomial.polynomial.polygrid2d(rows, columns, matrix)


def take_shadows(brightness: Gray) -> Gray:
    """Divides a picture by the light that falls on the paper, shadows with sharp edges too.

    The light is the brightness with all that is narrower than a part of the picture closed
    (dark strokes on bright paper) or opened (chalk on a blackboard): Serra's morphology,
    1982, "Image Analysis and Mathematical Morphology". It follows the edge of a shadow to
    the pixel, as no polynomial and no blurred picture does. Of the two the one is taken
    that has fewer edges itself, as closing what is bright on dark makes blots.

    Args:
      brightness: From 0 to 1.

    Returns:
      The picture as if its light was even, 1 where nothing is drawn.
    """
    lights = (_close(brightness), -_close(-brightness))
    light = min(lights, key=_count_edges)
    return brightness / np.maximum(light, _DARKEST)


def _close(gray: Gray) -> Gray:
    """Fills what is dark and has no room for a window, which may reach out."""
    margin = round(_WINDOW * min(gray.shape) / 2)
    window = 2 * margin + 1
    padded = np.pad(gray, margin, constant_values=-np.inf)
    # A square's: rows and columns one after another, whatever its size.
    padded = scipy.ndimage.maximum_filter(padded, window, mode='constant', cval=-np.inf)
    padded = scipy.ndimage.minimum_filter(padded, window, mode='nearest')
    height, width = gray.shape
    return padded[margin : margin + height, margin : margin + width]


def _count_edges(light: Gray) -> float:
    """Weighs sharp ones more: those of strokes are, those of a lamp's light are not."""
    return sum(float((np.diff(light, axis=axis) ** 2).sum()) for axis in (0, 1))
