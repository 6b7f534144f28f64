"""Cutting out a sheet of paper that lies on a table, or the inside of a drawn box."""

import math

import numpy as np
import scipy.ndimage
import scipy.spatial

from mnist_flax.recognition.pictures import Colours, Mask

# Area, as a part of that of the rectangle around it. A circle, such as a zero, fills 0.79.
_LEAST_FILLED = 0.88

# Shorter side, as a part of the longer one.
_LEAST_ASPECT = 0.4

# Area, as a part of the picture's.
_LEAST_PART = 0.1

# Pixels of the shorter side: a smaller one may be a stroke of a coarse digit.
_LEAST_SIDE = 50

# All below are parts of the shorter side.

# Holes in a sheet are strokes, a tenth of it wide; those of a box and of an angular zero
# are half as wide as these are.
_WIDEST_HOLE = 0.3

# What is in a box is a digit if it is as long, and not a dot in a zero.
_LONGEST_DOT = 0.25

# An empty box has thinner lines than a zero, and sharper corners: it fills more of the
# rectangle around it.
_THINNEST_ZERO, _LEAST_SHARP = 0.05, 0.97

# Cut off along the edge: a sheet may not be quite a rectangle, and throws a shadow.
_MARGIN = 0.04


def cut_out(colours: Colours, ink: Mask) -> Colours | None:
    """Cuts out a sheet of paper, or the inside of a box, that was taken for the ink.

    It may be turned by any angle.

    Args:
      colours: The picture.
      ink: What was taken for the ink.

    Returns:
      The upright rectangle around it, in which pixels outside the sheet have the colour of
      the nearest pixel of the sheet; None if there is no sheet.
    """
    labels, number = scipy.ndimage.label(ink)
    if number == 0:
        return None
    # The largest by what it surrounds: a digit has more ink than a thin box.
    boxes = scipy.ndimage.find_objects(labels)
    largest = max(range(number), key=lambda i: math.prod(map(_length, boxes[i])))
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
    inner, _ = scipy.ndimage.label(filled & ink[box] & ~rim)
    lengths = [max(map(_length, of)) for of in scipy.ndimage.find_objects(inner)]
    has_digit = max(lengths, default=0) >= _LONGEST_DOT * shorter
    if is_hollow and not is_line and not has_digit:
        return None  # an angular zero
    spans = any(a == b for a, b in zip(filled.shape, ink.shape, strict=True))
    if spans and not is_hollow:
        return None  # from margin to margin: more likely a shadow
    depth = scipy.ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    inside = depth > 1 + _MARGIN * shorter
    nearest = scipy.ndimage.distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    middle = next(iter(scipy.ndimage.find_objects(inside.astype(np.int8))), None)
    if middle is None or min(map(_length, middle)) < _LEAST_SIDE:
        return None
    return colours[box][tuple(nearest)][middle]


def measure_width(mask: Mask) -> float:
    """Measures the side of the largest square in it, in pixels."""
    return 2 * float(scipy.ndimage.distance_transform_cdt(np.pad(mask, 1)).max())


def _length(side: slice) -> int:
    return side.stop - side.start


def _measure_rectangle(mask: Mask) -> tuple[float, float]:
    """Measures the sides of the smallest rectangle around it, turned by any angle."""
    pixels = np.argwhere(mask & ~scipy.ndimage.binary_erosion(mask))
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
