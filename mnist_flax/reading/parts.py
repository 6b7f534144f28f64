"""Connected parts of what is drawn: which may be of digits, and which are not."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Int

from mnist_flax.reading import frames, rules
from mnist_flax.reading.boxes import Box, to_box
from mnist_flax.reading.rules import Rules
from mnist_flax.recognition.pictures import Gray, Mask

# Parts of fewer pixels are grain.
_LEAST_AREA = 6

# A page has some hundred parts, and a fabric has thousands; the largest are taken.
_MOST_PARTS = 1000

# As parts of the usual size: the size of dots and grain, and of specks and commas; and the
# gaps of a stroke that is broken.
_DOT, _SPECK, _GAP = 0.12, 0.22, 0.06

# Of what touches the picture's margin: the edge of something else lies along it for this
# part of its length; a digit has these heights, in usual ones, and touches it with a
# smaller part of its height. What is inside is not that much smaller.
_ALONG, _AT_MARGIN, _MOST_CONTACT, _LEAST_INSIDE = 0.6, (0.6, 1.6), 0.15, 0.25

# In usual heights: heights and the least width of what is left of a digit that is cut off.
_CUT_OFF, _LEAST_CUT_OFF = (0.4, 1.6), 0.1

# Of the height of something: a dot that belongs to it has these sizes, and is no farther
# above or below it, or beside that.
_DOTS, _DOT_NEAR, _DOT_BESIDE = (0.07, 0.3), 0.5, 0.25

# A level line is so many times as wide as high; below something that has this part of the
# usual height, and no farther away than this, it may be a line under it.
_DASH, _ABOVE, _BELOW = 4.0, 0.5, 0.15

# What is larger, and has half a digit's height, is drawn if it fills so much of its
# rectangle.
_LEAST_CUT_OFF_LARGE, _STROKES = 0.5, 0.35

# Usual heights of two digits, one above the other, that touch.
_TALL = (1.7, 2.6)

# A part is left of a printed line if as much of it lies on lines, and it is at most so many
# times as thick.
_ON_LINES, _AS_THICK = 0.6, 1.3

# Full ink is a percentile of those pixels of a part that have half of the most ink, which
# is a percentile too: those at the edges of strokes are not quite covered.
_FULL_INK, _MOST_INK = 75, 95

Labels = Int[np.ndarray, 'height width']


class Parts(NamedTuple):
    """The connected parts of what is drawn."""

    labels: Labels  # 0 where there is none
    boxes: dict[int, Box]  # by label, of those that may be of digits
    height: float  # the usual height of a digit, in pixels
    cut_off: list[Box]  # what may be of a digit that goes on beyond the picture


def find(marks: Mask, lines: Rules) -> Parts:
    """Finds the parts, without grain, specks, frames, and what lies along the margin.

    Args:
      marks: Where there are marks, printed lines left out.
      lines: The printed lines.
    """
    labels, number = _label(frames.remove(_drop_remains(marks, lines)))
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    areas[areas < _LEAST_AREA] = 0
    areas[0] = 0
    largest = np.argsort(-areas, kind='stable')[: min(_MOST_PARTS, int((areas > 0).sum()))]
    slices = scipy.ndimage.find_objects(labels)
    boxes = {label: to_box(slices[label - 1]) for label in largest.tolist()}
    inside = _drop_at_margin(labels, boxes)
    height = _usual([_to_height(of) for of in inside.values()])
    dropped = {label: box for label, box in boxes.items() if label not in inside}
    least, most = (height * of for of in _CUT_OFF)
    cut_off = [
        box
        for label, box in dropped.items()
        if _is_drawing(box, int(areas[label]), height) or least <= box.height <= most
        and box.width >= _LEAST_CUT_OFF * height
        and _count_sides(box, marks.shape) == 1  # in a corner it is seldom a digit
    ]
    boxes = inside
    boxes = {label: of for label, of in boxes.items() if of.size >= _SPECK * height}
    boxes = _cut_tall(labels, boxes, height)
    kept = np.zeros(labels.max() + 1, bool)
    kept[[*boxes]] = True
    labels = np.where(kept[labels], labels, 0)
    return Parts(labels, boxes, height, cut_off)


def fills(marks: Mask, part: float) -> bool:
    """Tells whether what is drawn takes a part of a picture's height or width."""
    boxes = list(find(marks, rules.find_none(marks)).boxes.values())
    if not boxes:
        return False
    box = functools.reduce(Box.join, boxes)
    return box.height >= part * marks.shape[0] or box.width >= part * marks.shape[1]


def has_dot(marks: Mask, box: Box) -> bool:
    """Tells whether a dot is right above or below something, as in i, ! and ?."""
    near, (least, most) = round(_DOT_NEAR * box.height), (box.height * of for of in _DOTS)
    beside = round(_DOT_BESIDE * box.height)
    left, top = max(0, box.left - beside), max(0, box.top - near)
    labels, _ = scipy.ndimage.label(
        marks[top : box.bottom + near, left : box.right + beside], np.ones((3, 3))
    )
    dots = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
    return any(
        least <= dot.size <= most
        and dot.top > 0  # all of it is near
        and dot.bottom < len(labels)
        and (dot.bottom <= box.top - top or dot.top >= box.bottom - top)
        for dot in dots
    )


def is_dash(box: Box) -> bool:
    """Tells whether a part is a level line."""
    return box.width >= _DASH * box.height


def cut_out(
    ink: Gray, parts: Parts, labels: Sequence[int], sides: tuple[int, int] | None = None
) -> tuple[Gray, float]:
    """Cuts out some parts, as ink from 0 to 1, however strong it is.

    Args:
      ink: How much ink there is in the picture.
      parts: Its parts.
      labels: Which of them.
      sides: The first column, and the one after the last; all columns if None.

    Returns:
      The parts, and how much ink the picture has where it covers them.
    """
    box = parts.boxes[labels[0]]
    for label in labels[1:]:
        box = box.join(parts.boxes[label])
    left, right = sides or (box.left, box.right)
    rows = slice(max(0, box.top - 2), box.bottom + 2)
    columns = slice(max(0, left - 2), right + 2)
    mask = np.isin(parts.labels[rows, columns], labels)
    if sides:
        mask[:, : left - columns.start] = False
        mask[:, right - columns.start :] = False
    values = ink[rows, columns]
    if not mask.any():
        return np.zeros_like(values), 0.0
    most = np.percentile(values[mask], _MOST_INK)
    full = np.percentile(values[mask & (values >= most / 2)], _FULL_INK)
    # With its soft edge, but not with what is cut off beside it.
    near = scipy.ndimage.binary_dilation(
        mask, np.ones((3, 3)), iterations=1 if sides else 2
    )
    covered = np.where(near, np.clip(values / full, 0, 1), 0).astype(np.float32)
    return covered, float(full)


def _count_sides(box: Box, shape: tuple[int, ...]) -> int:
    """Counts the sides of the picture that a part reaches."""
    height, width = shape
    reached = (box.left == 0, box.top == 0, box.right == width, box.bottom == height)
    return sum(reached)


def _is_drawing(box: Box, area: int, height: float) -> bool:
    """Tells whether a part is of strokes, and larger than a digit, as lines with digits are."""
    return (
        box.size > _CUT_OFF[1] * height
        and min(box.width, box.height) > _LEAST_CUT_OFF_LARGE * height
        and area <= _STROKES * box.width * box.height
    )


def _to_height(box: Box) -> float:
    """Estimates the height of the digit that a part may be of."""
    return max(float(box.height), 0.6 * box.width)


def _usual(sizes: Sequence[float | int]) -> float:
    """Takes the median, each counted by its square: specks count little."""
    if not sizes:
        return 0.0
    ordered = np.sort(np.asarray(sizes, float))
    weights = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(weights, weights[-1] / 2)])


def _drop_remains(marks: Mask, lines: Rules) -> Mask:
    """Drops what is left of printed lines: it is on one, and as thin."""
    labels, number = scipy.ndimage.label(marks, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    on_lines = np.bincount(labels[lines.bands], minlength=number + 1)
    boxes = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
    sizes = np.array([0, *(box.size for box in boxes)])
    is_thin = areas <= _AS_THICK * (lines.thick + 1) * sizes
    return marks & ~((on_lines > _ON_LINES * areas) & is_thin)[labels]


def _label(marks: Mask) -> tuple[Labels, int]:
    """Labels connected marks; gaps as narrow as a thin stroke connect, too.

    A line under something stays by itself.
    """
    labels, number = scipy.ndimage.label(marks, np.ones((3, 3)))
    if not number:
        return labels, number
    boxes = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
    sizes = np.array([box.size for box in boxes])
    usual = _usual(sizes.tolist())
    large = np.append(False, sizes >= _DOT * usual)[labels]
    inside = scipy.ndimage.distance_transform_cdt(np.pad(large, 1))[1:-1, 1:-1]
    # In a straight stroke the mean distance to the edge is a quarter of the width.
    stroke = 4 * (float(inside[large].mean()) - 0.5)
    reach = round(min(0.75 * stroke, _GAP * usual / 2))
    if reach >= 1:
        under = np.append(False, _find_lines_under(boxes, usual))
        joined = large & ~under[labels]
        wide = scipy.ndimage.binary_dilation(joined, np.ones((3, 3)), iterations=reach)
        in_joined, number = scipy.ndimage.label(wide, np.ones((3, 3)))
        numbers = np.cumsum(under) * under
        labels = np.where(joined, in_joined, numbers[labels] + number * under[labels])
        number += int(under.sum())
    return np.where(large, labels, 0), number


def _find_lines_under(boxes: Sequence[Box], usual: float) -> Bool[np.ndarray, 'boxes']:
    """Tells which parts may be lines under other ones."""
    is_under = np.zeros(len(boxes), bool)
    tall = np.array([box for box in boxes if box.height >= _ABOVE * usual]).reshape(-1, 4)
    for i, box in enumerate(boxes):
        if is_dash(box) and box.width >= _DOT * usual:
            left, _, right, bottom = tall.T
            gaps = box.top - bottom
            shared = np.minimum(box.right, right) - np.maximum(box.left, left)
            narrower = np.minimum(box.width, right - left)
            is_near = (gaps >= 0) & (gaps <= _BELOW * usual) & (shared >= narrower / 2)
            is_under[i] = bool(is_near.any())
    return is_under


def _drop_at_margin(labels: Labels, boxes: dict[int, Box]) -> dict[int, Box]:
    """Leaves out the edges of other things, and what is cut off if something is inside."""
    sides = np.array(
        [
            np.bincount(side, minlength=labels.max() + 1)
            for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1])
        ]
    )
    # An edge lies along one side; a digit that fills the picture reaches opposite ones.
    opposite = sides[[1, 0, 3, 2]]
    boxes = {
        label: box
        for label, box in boxes.items()
        if not ((sides[:, label] >= _ALONG * box.size) & (opposite[:, label] == 0)).any()
    }
    contacts = sides.sum(axis=0)
    height = _usual(
        [_to_height(box) for label, box in boxes.items() if not contacts[label]]
    )
    if height < _LEAST_INSIDE * _usual([_to_height(box) for box in boxes.values()]):
        return boxes
    least, most = (height * of for of in _AT_MARGIN)

    def may_be_digit(label: int, box: Box) -> bool:
        # What is slender, and lies at the left or right, is more likely an edge than a one.
        is_slender = box.width < box.height / 2 and sides[2:, label].any()
        is_short = contacts[label] < _MOST_CONTACT * box.height
        return bool(is_short and least <= box.height <= most and not is_slender)

    return {
        label: box
        for label, box in boxes.items()
        if not contacts[label] or may_be_digit(label, box)
    }


def _cut_tall(labels: Labels, boxes: dict[int, Box], height: float) -> dict[int, Box]:
    """Cuts what is as tall as two rows, where there is the least ink between them.

    Args:
      labels: Of the parts; changed: the lower ones of what is cut get new labels.
      boxes: Of the parts.
      height: The usual height.
    """
    tall = [
        label
        for label, box in boxes.items()
        if _TALL[0] * height <= box.height <= _TALL[1] * height
    ]
    if len(boxes) - len(tall) < 3:  # too few to know the usual height
        return boxes
    boxes = dict(boxes)
    for new, label in enumerate(tall, int(labels.max()) + 1):
        box = boxes[label]
        window = labels[box.top : box.bottom, box.left : box.right]
        third = box.height // 3
        amounts = (window == label).sum(axis=1)
        place = third + int(np.argmin(amounts[third:-third]))
        window[place:][window[place:] == label] = new
        for of in (label, new):
            rows, columns = np.nonzero(window == of)
            boxes[of] = Box(
                box.left + int(columns.min()),
                box.top + int(rows.min()),
                box.left + int(columns.max()) + 1,
                box.top + int(rows.max()) + 1,
            )
    return boxes
