"""A sheet of paper that lies on a table, cut out."""

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

# Of its shorter side. Holes in a sheet are strokes, a tenth of it wide; the hole of an
# angular zero is half as wide as the zero.
_WIDEST_HOLE = 0.3

# Of a sheet's shorter side: it may not be quite a rectangle, and throws a shadow.
_MARGIN = 0.04


def cut_out(colours: Colours, ink: Solid) -> Colours | None:
    """Cuts out a sheet of paper that was taken for the ink, turned in any way.

    Args:
      colours: The picture.
      ink: What was taken for the ink.

    Returns:
      The box around the sheet, with what is not of the sheet in the colours nearest to it;
      None if there is no sheet.
    """
    labels, number = scipy.ndimage.label(ink)
    if number == 0:
        return None
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    box = scipy.ndimage.find_objects(labels)[largest - 1]
    if any(of.stop - of.start == size for of, size in zip(box, ink.shape, strict=True)):
        return None  # what goes through the picture is more likely the edge of a shadow
    filled = scipy.ndimage.binary_fill_holes(labels[box] == largest)
    if min(filled.shape) < _LEAST_SIDE or filled.sum() < _LEAST_PART * ink.size:
        return None
    height, width = _measure_rectangle(filled)
    if filled.sum() < _LEAST_FILLED * height * width:
        return None
    if min(height, width) < _LEAST_ASPECT * max(height, width):
        return None
    holes = filled & ~ink[box]
    if measure_width(holes) > _WIDEST_HOLE * min(height, width):
        return None
    depth = scipy.ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    inside = depth > 1 + _MARGIN * min(height, width)
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
