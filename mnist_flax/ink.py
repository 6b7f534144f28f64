"""What is drawn in a picture: dark on light or light on dark, under uneven light."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from mnist_flax.checks import require

Gray = Float[np.ndarray, 'height width']

# Otsu's measure is 0.64 for a normal distribution and 0.75 for a uniform one, which have
# nothing drawn in them, and 1 for two values.
_LEAST_SEPARATION = 0.66

# Of the distance between black and white. Below, the rounding to 255 steps begins to show.
_LEAST_CONTRAST = 0.04

# To what part a tilted or curved background must bring the variance that is left on the
# two sides, to be preferred to a simpler one.
_GAIN = 0.5

# Per cent of the ink's pixels that are not quite covered: those at the edges of strokes,
# which are many in a coarse picture.
_FULL = 75

# A sheet fills its box, and is some pixels large, or it is a coarse picture's digit.
_LEAST_FILLED, _LEAST_SHEET = 0.88, 50


class _Split(NamedTuple):
    threshold: float
    separation: float  # part of the variance that is between the two sides
    within: float  # the variance that is left on them


def find_ink(colours: Float[np.ndarray, 'height width 3'], name: str) -> Gray:
    """Finds what is drawn, in whatever colour on whatever other one.

    The colours are projected on the line along which they differ most, the light is taken
    away as a smooth surface, and Otsu's threshold (1979, "A threshold selection method from
    gray-level histograms") tells the ink from the paper. The ink is the side that has less
    of the picture and of its margin.

    Args:
      colours: The picture, from 0 to 1.
      name: What to call it in messages.

    Returns:
      How much ink there is, from 0 on paper to 1 where it covers a pixel.

    Raises:
      UserError: Nothing is drawn.
    """
    gray = _project(colours)
    gray = scipy.ndimage.gaussian_filter(gray, max(gray.shape) / 400)
    flat = gray - np.median(gray)
    best, split = flat, _split(flat)
    for degree in (1, 2):
        evened = gray - _fit_background(gray, degree)
        other = _split(evened)
        if other.within < _GAIN * split.within:
            best, split = evened, other
    nothing = (
        f'{name}: found nothing drawn; allowed: one digit, in another brightness or colour '
        'than what it is on'
    )
    require(split.separation >= _LEAST_SEPARATION, nothing)
    above = best > split.threshold
    ink = above if _weigh(above) < 0.5 else ~above
    paper_level = float(np.median(best[~ink]))
    ink_level = float(np.percentile(best[ink], _FULL if ink is above else 100 - _FULL))
    require(abs(ink_level - paper_level) >= _LEAST_CONTRAST, nothing)
    return np.clip((best - paper_level) / (ink_level - paper_level), 0, 1)


def find_sheet(ink: Gray) -> tuple[slice, slice] | None:
    """Finds a sheet of paper that was taken for the ink, as it lies on a larger table.

    Args:
      ink: As from `find_ink`.

    Returns:
      The rows and columns within the sheet; None if there is none, or it is turned by more
      than some degrees.
    """
    labels, number = scipy.ndimage.label(ink > 0.5)
    if number == 0:
        return None
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    box = scipy.ndimage.find_objects(labels)[largest - 1]
    filled = scipy.ndimage.binary_fill_holes(labels[box] == largest)
    if filled.mean() < _LEAST_FILLED or min(filled.shape) < _LEAST_SHEET:
        return None
    if min(filled.shape) < 0.4 * max(filled.shape) or filled.size < 0.1 * ink.size:
        return None
    rows, columns = (
        slice(of.start + 1 + size // 25, of.stop - 1 - size // 25)  # it may be askew
        for of, size in zip(box, filled.shape, strict=True)
    )
    return rows, columns


def _project(colours: Float[np.ndarray, 'height width 3']) -> Gray:
    pixels = colours.reshape(-1, 3)
    covariance = np.cov(pixels, rowvar=False)
    _, directions = np.linalg.eigh(covariance)
    return (pixels @ directions[:, -1]).reshape(colours.shape[:2])


def _fit_background(gray: Gray, degree: int) -> Gray:
    """Fits a polynomial to most of the pixels, leaving out those far from it."""
    rows, columns = (np.linspace(-1, 1, size) for size in gray.shape)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    # A few thousand pixels tell as much as all.
    step = max(1, max(gray.shape) // 64)
    few = gray[::step, ::step]
    y, x = np.meshgrid(rows[::step], columns[::step], indexing='ij')
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
    return np.polynomial.polynomial.polygrid2d(
        rows, columns, _to_matrix(powers, factors, degree)
    )


def _to_matrix(powers, factors, degree):
    matrix = np.zeros((degree + 1, degree + 1))
    for (i, j), factor in zip(powers, factors, strict=True):
        matrix[i, j] = factor
    return matrix


def _split(values: Gray) -> _Split:
    """Finds Otsu's threshold, and how well it separates."""
    total = float(values.var())
    if total < 1e-12:
        return _Split(0.0, 0.0, 0.0)
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = below * above * difference**2
    # The middle of equally good ones, where the histogram has a gap.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    threshold = (edges[best[0] + 1] + edges[best[-1] + 1]) / 2
    explained = float(between.max()) / values.size**2
    return _Split(float(threshold), explained / total, total - explained)


def _weigh(side: Bool[np.ndarray, 'height width']) -> float:
    """Tells what part of a picture and of its margin is on one side."""
    margin = np.concatenate([side[0], side[-1], side[:, 0], side[:, -1]])
    # A frame has all of the margin, and a digit that fills the picture half of that.
    return float(2 * side.mean() + margin.mean()) / 3
