"""Removal of uneven light from a picture: smooth light, and shadows with sharp edges."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from mnist_flax.recognition.pictures import Gray

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
    y, x = np.meshgrid(rows[::down], columns[::right], indexing='ij')
    terms = np.stack([y**i * x**j for i, j in powers], axis=-1).reshape(-1, len(powers))
    values = gray[::down, ::right].ravel()
    kept = np.ones(len(values), bool)
    for _ in range(20):
        coefficients, *_ = np.linalg.lstsq(terms[kept], values[kept], rcond=None)
        distances = np.abs(values - terms @ coefficients)
        # Three standard deviations of normal noise, estimated from the median.
        close = distances <= max(3 * 1.4826 * float(np.median(distances)), 1e-3)
        if (close == kept).all():
            break
        kept = close
    matrix = np.zeros((degree + 1, degree + 1))
    matrix[tuple(np.transpose(powers))] = coefficients
    return np.polynomial.polynomial.polygrid2d(rows, columns, matrix)


def remove_shadows(brightness: Gray) -> Gray:
    """Divides a picture by the light that falls on the paper.

    The light is the brightness after a morphological closing (dark strokes on bright paper)
    or opening (chalk on a blackboard) with a window wider than strokes: Serra 1982, "Image
    Analysis and Mathematical Morphology". It follows the edge of a shadow to the pixel,
    which a polynomial or a blurred picture does not. Of the two the one with fewer edges is
    used: closing a picture that is bright on dark makes blots.

    Args:
      brightness: From 0 to 1.

    Returns:
      The picture as if its light was even, 1 where nothing is drawn.
    """
    closed, opened = close(brightness, _WINDOW), -close(-brightness, _WINDOW)
    light = min(closed, opened, key=_measure_edges)
    return brightness / np.maximum(light, _DARKEST)


def average(
    values: Float[np.ndarray, 'height width *channels'], factor: int
) -> Float[np.ndarray, '_ _ *channels']:
    """Averages over blocks of pixels; what is left at the end is cut off.

    Args:
      values: The picture.
      factor: Rows and columns of a block.
    """
    height, width = (size // factor for size in values.shape[:2])
    blocks = values[: height * factor, : width * factor]
    blocks = blocks.reshape(height, factor, width, factor, *values.shape[2:])
    return blocks.mean(axis=(1, 3))


def close(gray: Gray, window: float) -> Gray:
    """Closes what is darker than its surroundings and narrower than the window.

    Args:
      gray: Any values.
      window: Its side, as a part of the picture's shorter side.
    """
    margin = max(1, round(window * min(gray.shape) / 2))
    side = 2 * margin + 1
    padded = np.pad(gray, margin, constant_values=-np.inf)
    # The window is a square: rows and columns one after another, fast at any size.
    padded = scipy.ndimage.maximum_filter(padded, side, mode='constant', cval=-np.inf)
    padded = scipy.ndimage.minimum_filter(padded, side, mode='nearest')
    height, width = gray.shape
    return padded[margin : margin + height, margin : margin + width]


def _measure_edges(light: Gray) -> float:
    """Measures edges by their squares: those of strokes are sharp, those of light soft."""
    return sum(float((np.diff(light, axis=axis) ** 2).sum()) for axis in (0, 1))
