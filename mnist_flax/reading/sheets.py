"""A sheet of paper on a table, seen from any side: found, and made upright."""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Float, UInt8
from PIL import Image

from mnist_flax.reading import marks
from mnist_flax.reading.boxes import to_box
from mnist_flax.recognition import light, otsu
from mnist_flax.recognition.pictures import Colours, Gray, Mask

# The sheet is looked for in a smaller picture, of this longer side or up to twice.
_REDUCED_SIDE = 160

# Marks are narrower than this part of the shorter side; they are removed first.
_WINDOW = 0.08

# Its area, as a part of the picture's, and how bright the table is beside it, at most.
_LEAST_PART, _MOST_PART, _DARKER = 0.06, 0.95, 0.8

# How well brightness tells the sheet from the table: Otsu's part of the variance.
_LEAST_SEPARATION = 0.72

# Its area, as a part of its hull's, and the hull's as a part of that of the four corners.
_LEAST_FILLED, _LEAST_ANGULAR = 0.93, 0.93

# Points of the hull that may be corners.
_MOST_POINTS = 16

# Pixels of the smaller picture along the edge of a sheet, and a part of the shorter side
# that has only grain.
_RIM, _MARK = 2, 0.015

# Cut off along the edges, as a part of the shorter side: the sheet throws a shadow.
_MARGIN = 0.012

Projection = Float[np.ndarray, '3 3']


class Sheet(NamedTuple):
    """A sheet that was found."""

    colours: Colours  # upright, seen from above
    to_picture: Projection  # takes a place on the sheet, x and y in pixels, to the picture


def find(colours: Colours) -> Sheet | None:
    """Finds a bright sheet on a darker table.

    If the picture cuts it off, it is left as it is, and the table becomes paper.

    Args:
      colours: The picture, from 0 to 1.
    """
    factor = max(1, max(colours.shape) // _REDUCED_SIDE)
    small = light.average(colours.mean(axis=-1), factor)
    if min(small.shape) < 32:
        return None
    mask = _find_bright(light.close(small, _WINDOW))
    if mask is None:
        return None
    corners = _find_corners(mask)
    if corners is None:
        return _paint_table(colours, small, mask)
    return _rectify(colours, (corners + 0.5) * factor)


def _find_bright(brightness) -> Mask | None:
    """Finds the largest bright thing, if it is much brighter than all around it."""
    threshold = otsu.find_threshold(brightness)
    labels, number = scipy.ndimage.label(brightness > threshold.value)
    if not number or threshold.separation < _LEAST_SEPARATION:
        return None
    areas = np.bincount(labels.ravel())[1:]
    mask = scipy.ndimage.binary_fill_holes(labels == 1 + areas.argmax())
    if not _LEAST_PART <= mask.mean() <= _MOST_PART:
        return None
    around = scipy.ndimage.binary_dilation(
        mask, iterations=4
    ) & ~scipy.ndimage.binary_dilation(mask, iterations=2)
    within = scipy.ndimage.binary_erosion(mask, iterations=3)
    if not around.any() or not within.any():
        return None
    beside = float(np.median(brightness[around])) / float(np.median(brightness[within]))
    return mask if beside < _DARKER else None


def _find_corners(mask: Mask) -> Float[np.ndarray, '4 2'] | None:
    """Finds the corners, x and y, clockwise from the one at the top left."""
    rim = np.argwhere(mask & ~scipy.ndimage.binary_erosion(mask))[:, ::-1]
    if len(rim) < 8 or np.ptp(rim, axis=0).min() < 8:
        return None
    hull = scipy.spatial.ConvexHull(rim)
    points = rim[hull.vertices].astype(float)  # in order around it
    if mask.sum() < _LEAST_FILLED * hull.volume:
        return None
    while len(points) > _MOST_POINTS:  # leaves out the flattest corner
        triangles = np.stack([np.roll(points, by, axis=0) for by in (1, 0, -1)], axis=1)
        points = np.delete(points, int(np.argmin(np.abs(_area(triangles)))), axis=0)
    if len(points) < 4:
        return None
    fours = points[[*itertools.combinations(range(len(points)), 4)]]
    corners = fours[np.argmax(np.abs(_area(fours)))]
    if abs(_area(corners)) < _LEAST_ANGULAR * hull.volume:
        return None
    inner = np.array(mask.shape[::-1]) - 1
    if (corners <= 0).any() or (corners >= inner).any():
        return None
    if _area(corners) < 0:
        corners = corners[::-1]
    # Of the four ways to lay it upright the one that turns it least.
    angles = [abs(np.arctan2(*(corners[(i + 1) % 4] - corners[i])[::-1])) for i in range(4)]
    return np.roll(corners, -int(np.argmin(angles)), axis=0)


def _paint_table(colours: Colours, brightness: Gray, mask: Mask) -> Sheet | None:
    """Paints the table around a sheet that is cut off like the paper next to it.

    Args:
      colours: The picture.
      brightness: Of the smaller picture, whose blocks have 1 or more pixels each way.
      mask: Where the sheet is in it.

    Returns:
      None if the sheet is not cut off, or there are marks beside it: then it may be the
      lit part of a larger one.
    """
    is_cut_off = mask[[0, -1]].any() or mask[:, [0, -1]].any()
    rim = np.argwhere(mask)[:, ::-1]
    if not is_cut_off or np.ptp(rim, axis=0).min() < 8:
        return None
    if mask.sum() < _LEAST_FILLED * scipy.spatial.ConvexHull(rim).volume:
        return None
    outer = scipy.ndimage.binary_dilation(mask, iterations=_RIM) & ~mask
    inner = mask & ~scipy.ndimage.binary_erosion(mask, iterations=_RIM, border_value=1)
    if np.median(brightness[outer]) > _DARKER * np.median(brightness[inner]):
        return None  # it becomes dark by and by
    factor = len(colours) // len(brightness)
    size = colours.shape[1::-1]
    wider = scipy.ndimage.binary_dilation(mask, iterations=_RIM)
    beside = ~np.asarray(Image.fromarray(wider).resize(size, Image.Resampling.NEAREST))
    ink, threshold = marks.find(colours, are_dark=True)
    # A dark table has more grain: of noise a tenth is above 1.28 standard deviations.
    if beside.any():
        noise = float(np.percentile(ink[beside], 90)) / 1.28
        threshold = max(threshold, marks.NOISE * noise)
    labels, _ = scipy.ndimage.label((ink > threshold) & beside, np.ones((3, 3)))
    largest = max((to_box(of).size for of in scipy.ndimage.find_objects(labels)), default=0)
    if largest >= _MARK * min(size):
        return None
    within = scipy.ndimage.binary_erosion(mask, iterations=_RIM, border_value=1)
    nearest = scipy.ndimage.distance_transform_edt(
        ~within, return_distances=False, return_indices=True
    )
    painted = colours.copy()
    inside = np.asarray(Image.fromarray(within).resize(size, Image.Resampling.NEAREST))
    for channel in range(3):
        paper = light.close(light.average(colours[..., channel], factor), _WINDOW)
        few = Image.fromarray(paper[tuple(nearest)].astype(np.float32))
        around = np.asarray(few.resize(size, Image.Resampling.BILINEAR))
        painted[..., channel] = np.where(inside, colours[..., channel], around)
    return Sheet(painted, np.eye(3))


def _area(
    points: Float[np.ndarray, '*polygons points 2'],
) -> Float[np.ndarray, '*polygons']:
    """Measures polygons; positive if their points go round clockwise, as seen."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray(0.5 * (x * np.roll(y, -1, -1) - y * np.roll(x, -1, -1)).sum(axis=-1))


def _rectify(colours: Colours, corners: Float[np.ndarray, '4 2']) -> Sheet:
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = max(sides[0], sides[2]), max(sides[1], sides[3])
    margin = max(2.0, _MARGIN * min(width, height))
    ends = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - margin
    to_picture = solve(ends, corners)
    size = max(8, round(width - 2 * margin)), max(8, round(height - 2 * margin))
    picture = Image.fromarray(np.round(255 * colours).astype(np.uint8))
    upright = picture.transform(
        size,
        Image.Transform.PERSPECTIVE,
        to_picture.ravel()[:8].tolist(),
        Image.Resampling.BICUBIC,
    )
    pixels: UInt8[np.ndarray, '_ _ 3'] = np.asarray(upright)
    return Sheet(pixels.astype(np.float32) / 255, to_picture)


def solve(source: Float[np.ndarray, '4 2'], target: Float[np.ndarray, '4 2']) -> Projection:
    """Computes the projection of the plane that takes four points to four others."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    values = np.linalg.solve(np.array(rows, float), np.asarray(target, float).ravel())
    return np.append(values, 1).reshape(3, 3)


def project(
    projection: Projection, points: Float[np.ndarray, '_ 2']
) -> Float[np.ndarray, '_ 2']:
    """Takes points, x and y, where a projection takes them."""
    ends = np.c_[points, np.ones(len(points))] @ projection.T
    return ends[:, :2] / ends[:, 2:]
