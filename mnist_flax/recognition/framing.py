"""What is drawn, brought into the form that MNIST's authors gave their digits."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mnist_flax.common.errors import require

Gray = Float[np.ndarray, '_ _']
Solid = Bool[np.ndarray, '_ _']

_SIDE = 28
_BOX = 20  # the digit's longer side

# Pixels of a digit's longer side while its strokes are measured.
_FINE = 160

# Parts of a drawing that are smaller than this part of the largest are dirt.
_DIRT = 0.03

# Parts of one digit are no further apart, as a part of the tallest one's height.
_GAP_SIDEWAYS, _GAP_DOWN = 0.08, 0.25

# Of two parts above each other, up to what part of the taller one the other is its bar.
_BAR = 0.6

# Pixels of a digit's longer side.
_LEAST_SIDE = 5

# A digit has up to two, and 400 of MNIST and of other hands had up to five of any size, by
# gaps in the ink; noise of 64x64 pixels or more has dozens. In pixels of what is enlarged.
_MOST_HOLES, _LEAST_HOLE = 10, 4

# Of the strokes, in pixels: those of 1,500 digits of MNIST are 1.1 to 6.4 wide, and all but
# 1 % of them at least 1.4.
_THINNEST, _THICKEST = 1.4, 6.4

# Up to which an edge is looked for: what is above differs within strokes.
_MOST_INK = 0.95

# Of a Gaussian, as a part of the strokes' width: what was enlarged has steps, which it
# takes away, and thin pens it leaves as they are.
_SMOOTH = 0.2


def frame(ink: Gray, name: str) -> UInt8[np.ndarray, '28 28 1']:
    """Makes an image like those of MNIST from a drawing of one digit.

    The digit is scaled to fit into 20x20 pixels, its aspect kept and its edges smoothed,
    and its centre of mass comes to the middle of 28x28 (LeCun et al. 1998, "Gradient-based
    learning applied to document recognition", section III.A). Strokes much thinner or
    thicker than MNIST's are brought to its thinnest and thickest.

    Args:
      ink: How much ink there is, from 0 to 1.
      name: What to call the picture in messages.

    Raises:
      UserError: There is no digit, or there are several.
    """
    digit = _enlarge(_pick_digit(ink, name))
    _check_holes(digit, name)
    return centre(_even_strokes(digit))


def _pick_digit(ink: Gray, name: str) -> Gray:
    """Leaves out dirt, and sees that one digit is left."""
    labels, number = scipy.ndimage.label(ink > 0.5, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    parts = np.flatnonzero(areas >= _DIRT * areas.max(initial=1))
    require(
        0 < len(parts) <= 50,
        f'{name}: found {len(parts) or "nothing"} drawn, in parts; allowed: one digit',
    )
    boxes = scipy.ndimage.find_objects(labels)
    # A frame, or the table round a sheet, has the digit within it.
    inner = [part for part in parts if not _is_round(boxes[part], ink)]
    require(
        bool(inner) or len(parts) == 1,
        f'{name}: found frames with nothing in them; allowed: one digit',
    )
    groups = _group({int(part): boxes[part] for part in inner or parts})
    heights = [
        max(boxes[i][0].stop for i in group) - min(boxes[i][0].start for i in group)
        for group in groups
    ]
    tall = [
        g for g, height in zip(groups, heights, strict=True) if height >= 0.4 * max(heights)
    ]
    require(
        len(tall) == 1,
        f'{name}: found {len(tall)} things drawn apart from each other; allowed: one digit',
    )
    mask = np.isin(labels, [part + 1 for part in tall[0]])
    longer = max(of.stop - of.start for of in _crop(mask, 0))
    require(
        longer >= _LEAST_SIDE,
        f'{name}: found nothing drawn but a dot; allowed: one digit, of {_LEAST_SIDE} '
        'pixels or more',
    )
    # With the soft edge around it.
    near = scipy.ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=2)
    return np.where(near, ink, 0)[_crop(mask)]


def _is_round(box: tuple[slice, slice], ink: Gray) -> bool:
    """Tells whether a part is as large as the picture, but for a margin."""
    return all(
        of.stop - of.start >= 0.9 * size for of, size in zip(box, ink.shape, strict=True)
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
    # Above each other, a bar belongs to its digit, and two that are as tall are two digits.
    heights = sorted(rows.stop - rows.start for rows, _ in (one, other))
    is_bar = heights[0] < _BAR * heights[1]
    return down <= (_GAP_DOWN if is_bar else 0) * tallest


def _crop(mask: Solid, margin: int = 2) -> tuple[slice, slice]:
    ((rows, columns),) = scipy.ndimage.find_objects(mask.astype(np.int8))
    return (
        slice(max(0, rows.start - margin), rows.stop + margin),
        slice(max(0, columns.start - margin), columns.stop + margin),
    )


def _enlarge(digit: Gray) -> Gray:
    """Draws it as large as its strokes are measured."""
    digit = np.pad(digit, 2).astype(np.float32)
    height, width = digit.shape
    scale = _FINE / _longer_side(digit > 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    large = np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC))
    return np.pad(large.clip(0, 1), _FINE // 8)


def _check_holes(digit: Gray, name: str) -> None:
    """Sees that it is no noise or texture, which is full of holes."""
    labels, _ = scipy.ndimage.label(digit <= 0.5)
    areas = np.bincount(labels.ravel())[1:]
    num_holes = int((areas >= _LEAST_HOLE).sum()) - 1  # beside what is around it
    require(
        num_holes <= _MOST_HOLES,
        f'{name}: found {num_holes} holes in what is drawn; allowed: one digit',
    )


def _even_strokes(digit: Gray) -> Gray:
    """Smooths the strokes, and brings their width to what MNIST has."""
    digit = _take_darkest(digit)
    solid = digit > 0.5
    width, unit = _measure_strokes(solid)
    wanted = float(np.clip(width, _THINNEST * unit, _THICKEST * unit))
    if wanted == width:
        return scipy.ndimage.gaussian_filter(digit, _SMOOTH * width)
    inside, outside = (
        scipy.ndimage.distance_transform_edt(side) for side in (solid, ~solid)
    )
    changed = outside - inside < (wanted - width) / 2
    return (changed if changed.any() else solid).astype(np.float32)


def _take_darkest(digit: Gray) -> Gray:
    """Takes strokes that are too thick from where more ink is.

    Coarse pictures show no more of a thick digit's inside than a darker gray.
    """
    if not _is_too_thick(digit > 0.5):
        return digit
    level, limit = 0.5, _MOST_INK
    for _ in range(6):
        middle = (level + limit) / 2
        if _is_too_thick(digit > middle):
            level = middle
        else:
            limit = middle
    below, above = 0.5 * digit / limit, 0.5 + 0.5 * (digit - limit) / (1 - limit)
    return np.where(digit < limit, below, above).astype(np.float32)


def _is_too_thick(solid: Solid) -> bool:
    width, unit = _measure_strokes(solid)
    return width > _THICKEST * unit


def _measure_strokes(solid: Solid) -> tuple[float, float]:
    """Measures their width, and a pixel of MNIST, both in pixels."""
    if not solid.any():
        return 0.0, 1.0
    inside = scipy.ndimage.distance_transform_edt(solid)
    # In a straight stroke the mean distance to the edge is a quarter of the width.
    return 4 * (float(inside[solid].mean()) - 0.5), _longer_side(solid) / _BOX


def _longer_side(solid: Solid) -> int:
    rows, columns = _crop(solid, 0)
    return max(rows.stop - rows.start, columns.stop - columns.start)


def centre(digit: Gray) -> UInt8[np.ndarray, '28 28 1']:
    """Scales a digit to MNIST's box, and brings its centre of mass to the middle.

    Args:
      digit: Ink from 0 to 1, with nothing else than the digit, several times as large as
        the box.
    """
    unit = _longer_side(digit > 0.5) / _BOX
    field = _SIDE * unit
    margin = int(np.ceil(field))
    padded = np.pad(digit, margin).astype(np.float32)
    # The centre of MNIST's images is in the middle of pixel 14, counted from 0: the mean
    # over its training set is at 14.0 and 14.0.
    middle = scipy.ndimage.center_of_mass(padded)
    down, sideways = (float(of) + 0.5 - 14.5 * unit for of in middle)
    box = (sideways, down, sideways + field, down + field)
    image = Image.fromarray(padded).resize((_SIDE, _SIDE), Image.Resampling.BOX, box)
    return np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)[..., None]
