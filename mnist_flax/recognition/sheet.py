"""A sheet of paper that lies on a table, or a box that is drawn on it, cut out."""

import math

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float

Colours = Float[np.ndarray, '_ _ 3']
Solid = Bool[np.ndarray, '_ _']

# Of the rectangle around it. A circle, such as of a zero, fills 0.79.
_LEAST_FILLED = 0.88

# Of its longer side, the shorter one.
_LEAST_ASPECT = 0.4

# Of the picture's pixels.
_LEAST_PART = 0.1

# Pixels of the shorter side: a smaller one may be a stroke of a coarse digit.
_LEAST_SIDE = 50

# Of its shorter side. Holes in a sheet are strokes, a tenth of it wide; those of a box and
# of an angular zero are half as wide as these are.
_WIDEST_HOLE = 0.3

# Of a box's shorter side: what is in it is a digit if it is as long, not a dot in a zero.
_LONGEST_DOT = 0.25

# An empty box has thinner lines, of its shorter side, and sharper corners than a zero.
_THINNEST_ZERO, _LEAST_SHARP = 0.05, 0.97

# Of a sheet's shorter side: it may not be quite a rectangle, and throws a shadow.
_MARGIN = 0.04


def cut_out(colours: Colours, ink: Solid) -> Colours | None:
    """Cuts out a sheet of paper, or the inside of a box, that was taken for the ink.

    It may be turned in any way.

    Args:
      colours: The picture.
      ink: What was taken for the ink.

    Returns:
      What is around it upright, with what is not of the sheet in the colours nearest to it;
      None if there is no sheet.
    """
    labels, number = scipy.ndimage.label(ink)
    if number == 0:
        return None
    # By what it surrounds: of a thin box a digit has more ink.
    boxes = scipy.ndimage.find_objects(labels)
    largest = max(
        range(number), key=lambda i: math.prod(of.stop - of.start for of in boxes[i])
    )
    box = boxes[largest]
    rim = labels[box] == largest + 1
    filled = scipy.ndimage.binary_fill_holes(rim)
    if min(filled.shape) < _LEAST_SIDE or filled.sum() < _LEAST_PART * ink.size:
        return None
    height, width = _measure_rectangle(filled)
    shorter = min(height, width)
    part = filled.sum() / (height * width)
    if part < _LEAST_FILLED or shorter < _LEAST_ASPECT * max(height, width):
        return None
    is_hollow = measure_width(filled & ~ink[box]) > _WIDEST_HOLE * shorter
    is_line = measure_width(rim) < _THINNEST_ZERO * shorter and part >= _LEAST_SHARP
    is_around = _measure_longest(filled & ink[box] & ~rim) >= _LONGEST_DOT * shorter
    if is_hollow and not is_line and not is_around:
        return None  # an angular zero
    spans = any(of.stop - of.start == size for of, size in zip(box, ink.shape, strict=True))
    if spans and not is_hollow:
        return None  # more likely a shadow
    depth = scipy.ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    inside = depth > 1 + _MARGIN * shorter
    nearest = scipy.ndimage.distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    middle = next(iter(scipy.ndimage.find_objects(inside.astype(np.int8))), None)
    if middle is None or min(of.stop - of.start for of in middle) < _LEAST_SIDE:
        return None
    return colours[box][tuple(nearest)][middle]


def measure_width(solid: Solid) -> float:
    """Measures the largest square within it, in pixels."""
    return 2 * float(scipy.ndimage.distance_transform_cdt(np.pad(solid, 1)).max())


def _measure_longest(solid: Solid) -> int:
    """Measures the longest side of what is upright around its parts, in pixels."""
    boxes = scipy.ndimage.find_objects(scipy.ndimage.label(solid)[0])
    return max((of.stop - of.start for box in boxes for of in box), default=0)


def _measure_rectangle(solid: Solid) -> tuple[float, float]:
    """Measures the sides of the smallest rectangle around it, turned in any way."""
    pixels = np.argwhere(solid & ~scipy.ndimage.binary_erosion(solid))
    corners = pixels[scipy.spatial.ConvexHull(pixels).vertices]
    # One side of the rectangle lies on one of the hull's.
    edges = np.roll(corners, -1, axis=0) - corners
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    axes = (
        np.stack([np.cos(angles), np.sin(angles)]),
        np.stack([-np.sin(angles), np.cos(angles)]),
    )
    sides = [np.ptp(corners @ axis, axis=0) + 1 for axis in axes]
    best = int(np.argmin(sides[0] * sides[1]))
    return float(sides[0][best]), float(sides[1][best])
