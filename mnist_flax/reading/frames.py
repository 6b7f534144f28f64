"""Frames around what is drawn: rings, boxes, and the lines of tables."""

import numpy as np
import scipy.ndimage

from mnist_flax.reading.boxes import to_box
from mnist_flax.recognition.pictures import Mask

# Size of what a frame or ring has within it, as a part of its own height.
_WITHIN = 0.2

# Of a frame: what it fills of its rectangle (a ring: 0.79), how far its edge goes in, as a
# part of the shorter side, how much of a side a line takes, and how much else it has.
_LEAST_FILLED, _EDGE, _LINE, _STRAY = 0.7, 0.24, 0.75, 0.02

# A page has some hundred parts, and grain has thousands; the largest are looked at.
_MOST_PARTS = 1000


def remove(marks: Mask) -> Mask:
    """Removes what has other parts within it: rings, boxes, tables.

    Args:
      marks: Where something is drawn.
    """
    labels, _ = scipy.ndimage.label(marks, np.ones((3, 3)))
    boxes = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
    sizes = np.array([box.size for box in boxes])
    largest = np.argsort(-sizes, kind='stable')[:_MOST_PARTS].tolist()
    frames = []
    for i in largest:
        box = boxes[i]
        within = [
            of
            for of in (boxes[j] for j in largest)
            if box.left < of.left and of.right < box.right
            and box.top < of.top and of.bottom < box.bottom
            and of.size >= _WITHIN * box.height
        ]  # fmt: skip
        if not within:
            continue
        rim = labels[box.top : box.bottom, box.left : box.right] == i + 1
        hole = scipy.ndimage.binary_fill_holes(rim) & ~rim
        has_parts = any(
            hole[
                of.top - box.top : of.bottom - box.top,
                of.left - box.left : of.right - box.left,
            ].all()
            for of in within
        )
        if has_parts and _is_outline(rim, rim | hole):
            frames.append(i + 1)
    return marks & ~np.isin(labels, frames)


def _is_outline(rim: Mask, filled: Mask) -> bool:
    """Tells whether a ring, box or table has no stroke of something else at its lines."""
    if filled.mean() < _LEAST_FILLED:
        return False
    inside = scipy.ndimage.distance_transform_cdt(np.pad(filled, 1))[1:-1, 1:-1]
    stray = rim & (inside > _EDGE * min(rim.shape))
    # The lines between the cells of a table go from end to end.
    for axis in (0, 1):
        lines = rim.mean(axis=axis) >= _LINE
        lines = scipy.ndimage.binary_dilation(lines, iterations=2)
        stray &= ~(lines[None] if axis == 0 else lines[:, None])
    return bool(stray.sum() <= _STRAY * rim.sum())
