"""Connected parts of what is drawn: which may be of digits, and which are not."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from mnist_flax.reading import connected, frames, margins, rules
from mnist_flax.reading.boxes import Box, to_box
from mnist_flax.reading.connected import Labels
from mnist_flax.reading.rules import Rules
from mnist_flax.recognition.pictures import Gray, Mask

# Parts of fewer pixels are grain.
_LEAST_AREA = 6

# A page has some hundred parts, and a fabric has thousands; the largest are taken.
_MOST_PARTS = 1000

# Of the usual size: specks and commas. So many of them, with so many pixels in a side, may
# be digits beside something large.
_SPECK, _MOST_SMALL, _LEAST_SIZE = 0.22, 16, 10

# Of digits above each other the lower one has this part of the height; of so many parts.
_AS_HIGH, _MOST_APART = 0.6, 4

# Of the height of something: a dot that belongs to it has these sizes, and is no farther
# above or below it, or beside that.
_DOTS, _DOT_NEAR, _DOT_BESIDE = (0.07, 0.3), 0.5, 0.25

# Usual heights of two digits, one above the other, that touch.
_TALL = (1.7, 2.6)

# Full ink is a percentile of those pixels of a part that have half of the most ink, which
# is a percentile too: those at the edges of strokes are not quite covered.
_FULL_INK, _MOST_INK = 75, 95


class Parts(NamedTuple):
    """The connected parts of what is drawn."""

    labels: Labels  # 0 where there is none
    boxes: dict[int, Box]  # by label, of those that may be of digits
    height: float  # the usual height of a digit, in pixels
    cut_off: list[Box]  # what may be of a digit that goes on beyond the picture
    in_corners: list[Box]  # the same in corners, where it is seldom a digit
    small: dict[int, Box]  # by label, of the largest specks


def find(marks: Mask, lines: Rules) -> Parts:
    """Finds the parts, without grain, specks, frames, and what lies along the margin.

    Args:
      marks: Where there are marks, printed lines left out.
      lines: The printed lines.
    """
    labels, number = connected.label(frames.remove(connected.drop_remains(marks, lines)))
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    areas[areas < _LEAST_AREA] = 0
    areas[0] = 0
    largest = np.argsort(-areas, kind='stable')[: min(_MOST_PARTS, int((areas > 0).sum()))]
    slices = scipy.ndimage.find_objects(labels)
    boxes = {label: to_box(slices[label - 1]) for label in largest.tolist()}
    boxes, height, cut_off, in_corners = margins.drop(labels, boxes)
    small = {label: of for label, of in boxes.items() if of.size < _SPECK * height}
    boxes = {label: of for label, of in boxes.items() if label not in small}
    small = {label: of for label, of in small.items() if of.size >= _LEAST_SIZE}
    small = dict([*small.items()][:_MOST_SMALL])
    boxes = _cut_tall(labels, boxes, height)
    kept = np.zeros(labels.max() + 1, bool)
    kept[[*boxes, *small]] = True
    labels = np.where(kept[labels], labels, 0)
    return Parts(labels, boxes, height, cut_off, in_corners, small)


def find_boxes(marks: Mask) -> list[Box]:
    """Finds the parts of a picture without printed lines, from the largest on."""
    return [*find(marks, rules.find_none(marks)).boxes.values()]


def fills(boxes: Sequence[Box], shape: tuple[int, ...], part: float) -> bool:
    """Tells whether all boxes together take a part of a picture's height or width."""
    if not boxes:
        return False
    box = functools.reduce(Box.join, boxes)
    return box.height >= part * shape[0] or box.width >= part * shape[1]


def are_apart(boxes: Sequence[Box]) -> bool:
    """Tells whether one of two parts is below the other, and both may be digits."""
    return any(
        lower.top >= upper.bottom
        and min(upper.height, lower.height) >= _AS_HIGH * max(upper.height, lower.height)
        for upper, lower in itertools.permutations(boxes[:_MOST_APART], 2)
    )


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
