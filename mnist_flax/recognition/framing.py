"""Conversion of a drawing to the form that MNIST's authors gave their digits."""

import numpy as np
import scipy.ndimage
from jaxtyping import UInt8
from PIL import Image

from mnist_flax.common.errors import require
from mnist_flax.recognition.pictures import Gray, Mask

_SIDE = 28
_BOX = 20  # the digit's longer side

# Pixels of a digit's longer side while its strokes are measured.
_FINE = 160

# Parts of a drawing with a smaller area than this part of the largest are dirt.
_DIRT = 0.03

# Largest gaps between parts of one digit, as a part of the tallest one's height.
_GAP_SIDEWAYS, _GAP_DOWN = 0.08, 0.25

# Of two parts above each other, the largest height of a bar, as a part of the taller one's.
_BAR = 0.6

# Pixels of a digit's longer side.
_LEAST_SIDE = 5

# A digit has up to two holes, 400 of MNIST and other hands had up to five, by gaps in the
# ink, and noise of 64x64 pixels or more has dozens. The smallest that counts, in pixels of
# the enlarged digit.
_MOST_HOLES, _LEAST_HOLE = 10, 4

# Width of strokes, in pixels: those of 1,500 digits of MNIST are 1.1 to 6.4 wide, and all
# but 1 % of them at least 1.4.
_THINNEST, _THICKEST = 1.4, 6.4

# Highest threshold of ink: more ink than that varies within strokes.
_MOST_INK = 0.95

# Standard deviation, as a part of the strokes' width: it removes the steps of an enlarged
# digit, and leaves thin strokes as they are.
_SMOOTH = 0.2


def frame(ink: Gray, name: str) -> UInt8[np.ndarray, '28 28 1']:
    """Makes an image like those of MNIST from a drawing of one digit.

    The digit is scaled to fit into 20x20 pixels, its aspect kept and its edges smoothed,
    and its centre of mass is moved to the middle of 28x28 (LeCun et al. 1998,
    "Gradient-based learning applied to document recognition", section III.A). Strokes much
    thinner or thicker than MNIST's get the width of its thinnest or thickest.

    Args:
      ink: How much ink there is, from 0 to 1.
      name: What to call the picture in messages.

    Raises:
      UserError: No digit is drawn, or several are.
    """
    digit = _enlarge(_pick_digit(ink, name), _FINE)
    _check_holes(digit, name)
    return centre(_normalize_strokes(digit))


def frame_digit(digit: Gray) -> UInt8[np.ndarray, '28 28 1']:
    """Makes an image like those of MNIST from a digit that is cut out, as `frame`, faster.

    Args:
      digit: How much ink there is, from 0 to 1, more than 0.5 in some pixels.
    """
    return centre(_normalize_strokes(_enlarge(digit, _FINE // 2)))


def _pick_digit(ink: Gray, name: str) -> Gray:
    """Crops to the digit, without dirt and frames, after checking that there is one."""
    labels, number = scipy.ndimage.label(ink > 0.5, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    parts = np.flatnonzero(areas >= _DIRT * areas.max(initial=1)).tolist()
    require(bool(parts), f'{name}: nothing is drawn in it; it should show one digit')
    require(
        len(parts) <= 50,
        f'{name}: {len(parts)} parts are drawn in it; it should show one digit',
    )
    boxes = scipy.ndimage.find_objects(labels)
    # A frame, or the table around a sheet, has the digit within it.
    inner = [part for part in parts if not _is_frame(boxes[part], ink)]
    require(
        bool(inner) or len(parts) == 1,
        f'{name}: nothing is drawn within the frames in it; it should show one digit',
    )
    groups = _group({part: boxes[part] for part in inner or parts})
    heights = [
        max(boxes[i][0].stop for i in group) - min(boxes[i][0].start for i in group)
        for group in groups
    ]
    tall = [
        g for g, height in zip(groups, heights, strict=True) if height >= 0.4 * max(heights)
    ]
    require(
        len(tall) == 1,
        f'{name}: {len(tall)} things are drawn apart from each other; it should show one '
        'digit',
    )
    mask = np.isin(labels, [part + 1 for part in tall[0]])
    require(
        _longer_side(mask) >= _LEAST_SIDE,
        f'{name}: nothing is drawn in it but a dot; it should show one digit, of at least '
        f'{_LEAST_SIDE} pixels',
    )
    # With its soft edge.
    near = scipy.ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=2)
    rows, columns = _bound(mask)
    return np.where(near, ink, 0)[
        max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2
    ]


def _is_frame(box: tuple[slice, slice], ink: Gray) -> bool:
    """Tells whether a part is as large as the picture, but for a margin."""
    return all(
        side.stop - side.start >= 0.9 * size
        for side, size in zip(box, ink.shape, strict=True)
    )


def _group(boxes: dict[int, tuple[slice, slice]]) -> list[set[int]]:
    """Joins parts that are near each other."""
    tallest = max(rows.stop - rows.start for rows, _ in boxes.values())
    groups: list[set[int]] = []
    for part, box in boxes.items():
        near = [
            group
            for group in groups
            if any(_are_near(box, boxes[other], tallest) for other in group)
        ]
        groups = [group for group in groups if group not in near]
        groups.append({part}.union(*near))
    return groups


def _are_near(one, other, tallest) -> bool:
    down, sideways = (
        max(a.start, b.start) - min(a.stop, b.stop) for a, b in zip(one, other, strict=True)
    )
    if sideways > _GAP_SIDEWAYS * tallest:
        return False
    # Of two above each other, a short one is a bar of the other; else they are two digits.
    heights = sorted(rows.stop - rows.start for rows, _ in (one, other))
    is_bar = heights[0] < _BAR * heights[1]
    return down <= (_GAP_DOWN if is_bar else 0) * tallest


def _enlarge(digit: Gray, side: int) -> Gray:
    """Enlarges a digit to the size at which its strokes are measured."""
    digit = np.pad(digit, 2).astype(np.float32)
    height, width = digit.shape
    scale = side / _longer_side(digit > 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    large = np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC))
    return np.pad(large.clip(0, 1), side // 8)


def _check_holes(digit: Gray, name: str) -> None:
    """Checks that it is not noise or a texture, which are full of holes."""
    labels, _ = scipy.ndimage.label(digit <= 0.5)
    areas = np.bincount(labels.ravel())[1:]
    num_holes = int((areas >= _LEAST_HOLE).sum()) - 1  # without the background
    require(
        num_holes <= _MOST_HOLES,
        f'{name}: what is drawn in it has {num_holes} holes; it should show one digit',
    )


def _normalize_strokes(digit: Gray) -> Gray:
    """Smooths the strokes, and brings their width to what MNIST has."""
    digit = _thin_by_ink(digit)
    solid = digit > 0.5
    if not solid.any():
        return digit
    width, unit = _measure_strokes(solid)
    wanted = float(np.clip(width, _THINNEST * unit, _THICKEST * unit))
    if wanted == width:
        return scipy.ndimage.gaussian_filter(digit, _SMOOTH * width)
    inside, outside = map(scipy.ndimage.distance_transform_edt, (solid, ~solid))
    changed = outside - inside < (wanted - width) / 2
    return (changed if changed.any() else solid).astype(np.float32)


def _thin_by_ink(digit: Gray) -> Gray:
    """Thins strokes that are too thick to where they have more ink.

    In a coarse picture, the holes of a thick digit are no more than a lighter gray.
    """

    def is_too_thick(threshold: float) -> bool:
        width, unit = _measure_strokes(digit > threshold)
        return width > _THICKEST * unit

    if not is_too_thick(0.5):
        return digit
    low, high = 0.5, _MOST_INK
    for _ in range(6):
        middle = (low + high) / 2
        low, high = (middle, high) if is_too_thick(middle) else (low, middle)
    below, above = 0.5 * digit / high, 0.5 + 0.5 * (digit - high) / (1 - high)
    return np.where(digit < high, below, above).astype(np.float32)


def _measure_strokes(solid: Mask) -> tuple[float, float]:
    """Measures the width of strokes and a pixel of MNIST, both in pixels."""
    if not solid.any():
        return 0.0, 1.0
    inside = scipy.ndimage.distance_transform_edt(solid)
    # In a straight stroke the mean distance to the edge is a quarter of the width.
    return 4 * (float(inside[solid].mean()) - 0.5), _longer_side(solid) / _BOX


def _bound(mask: Mask) -> tuple[slice, slice]:
    (box,) = scipy.ndimage.find_objects(mask.astype(np.int8))
    return box


def _longer_side(mask: Mask) -> int:
    return max(side.stop - side.start for side in _bound(mask))


def centre(digit: Gray) -> UInt8[np.ndarray, '28 28 1']:
    """Scales a digit to MNIST's box, and moves its centre of mass to the middle.

    Args:
      digit: Ink from 0 to 1, of the digit alone, several times as large as the box.
    """
    unit = _longer_side(digit > 0.5 * digit.max()) / _BOX
    field = _SIDE * unit
    margin = int(np.ceil(field))
    padded = np.pad(digit, margin).astype(np.float32)
    # The centre of MNIST's images is in the middle of pixel 14, counted from 0: the mean
    # over its training set is at 14.0 and 14.0.
    masses = padded.sum(axis=1, dtype=float), padded.sum(axis=0, dtype=float)
    middle = (float(of @ np.arange(of.size) / of.sum()) for of in masses)
    down, sideways = (place + 0.5 - 14.5 * unit for place in middle)
    box = (sideways, down, sideways + field, down + field)
    image = Image.fromarray(padded).resize((_SIDE, _SIDE), Image.Resampling.BOX, box)
    return np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)[..., None]
