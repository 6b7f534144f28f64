"""What reaches the margin of a picture: the edges of other things, and digits cut off."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from mnist_flax.reading.boxes import Box, usual_size
from mnist_flax.reading.connected import Labels

# So near to the margin, as a part of the shorter side, something reaches it.
_NEAR = 0.005

# The edge of something else lies along the margin for this part of its length.
_ALONG = 0.6

# A whole digit that reaches the margin: its height, as a part of the usual one, and how
# much of its own height may touch.
_AT_MARGIN, _MOST_CONTACT = (0.6, 1.6), 0.15

# If what does not reach the margin is smaller than this part of the rest, it is dirt, and
# the digit fills the picture.
_LEAST_INSIDE = 0.25

# What is left of a digit that is cut off: its height and least width, in usual heights.
_CUT_OFF, _LEAST_CUT_OFF = (0.4, 1.6), 0.1

# Larger things are drawn if both sides have so many usual heights, and strokes fill at most
# this part of their rectangle: a thumb or a table fills more.
_LEAST_DRAWING, _STROKES = 0.5, 0.35


class Kept(NamedTuple):
    """What is left."""

    boxes: dict[int, Box]  # by label
    height: float  # the usual height of a digit
    cut_off: list[Box]  # what may be of a digit that goes on beyond the picture
    in_corners: list[Box]  # the same in corners, where it is seldom a digit


def drop(labels: Labels, boxes: dict[int, Box]) -> Kept:
    """Leaves out the edges of other things, and what is cut off if something is inside.

    Args:
      labels: Of the parts.
      boxes: Of the parts.
    """
    contacts = _count_contacts(labels)
    inside = _drop(boxes, contacts)
    height = usual_size([_to_height(of) for of in inside.values()])
    least, most = (height * of for of in _CUT_OFF)

    def may_be_cut_off(label: int, box: Box) -> bool:
        if box.size > most:
            return _is_drawing(labels, label, box, height)
        return least <= box.height and box.width >= _LEAST_CUT_OFF * height

    cut_off: list[Box] = []
    in_corners: list[Box] = []
    for label, box in boxes.items():
        if label not in inside and may_be_cut_off(label, box):
            is_in_corner = box.size <= most and (contacts[:, label] > 0).sum() > 1
            (in_corners if is_in_corner else cut_off).append(box)
    return Kept(inside, height, cut_off, in_corners)


def _drop(boxes: dict[int, Box], sides: Int[np.ndarray, '4 labels']) -> dict[int, Box]:
    # An edge lies along one side; a digit that fills the picture reaches opposite ones.
    opposite = sides[[1, 0, 3, 2]]
    boxes = {
        label: box
        for label, box in boxes.items()
        if not ((sides[:, label] >= _ALONG * box.size) & (opposite[:, label] == 0)).any()
    }
    contacts = sides.sum(axis=0)
    height = usual_size(
        [_to_height(box) for label, box in boxes.items() if not contacts[label]]
    )
    if height < _LEAST_INSIDE * usual_size([_to_height(box) for box in boxes.values()]):
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


def _count_contacts(labels: Labels) -> Int[np.ndarray, '4 labels']:
    """Counts the pixels of each part along the top, bottom, left and right margins."""
    near = max(1, round(_NEAR * min(labels.shape)))
    return np.array(
        [
            np.max([np.bincount(of, minlength=labels.max() + 1) for of in strip], axis=0)
            for strip in (labels[:near], labels[-near:], labels.T[:near], labels.T[-near:])
        ]
    )


def _is_drawing(labels: Labels, label: int, box: Box, height: float) -> bool:
    """Tells whether a part is of strokes, such as digits with a line through them."""
    window = labels[box.top : box.bottom, box.left : box.right] == label
    is_large = min(box.width, box.height) > _LEAST_DRAWING * height
    return is_large and bool(window.mean() <= _STROKES)


def _to_height(box: Box) -> float:
    """Estimates the height of the digit that a part may be of."""
    return max(float(box.height), 0.6 * box.width)
