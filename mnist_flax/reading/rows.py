"""Rows of what is written, from top to bottom and left to right."""

import math
from collections.abc import Sequence

from mnist_flax.reading.boxes import Box

# Of two in a row: how much of the lower one's height they share, and how far apart they may
# be, in heights.
_SHARED, _FARTHEST = 0.4, 6.0


def arrange(boxes: Sequence[Box]) -> list[list[int]]:
    """Arranges boxes in rows.

    A row goes from each box to the next one on its right that is at about the same height,
    so that it may rise or fall.

    Args:
      boxes: Of the digits, in any order.

    Returns:
      Their numbers, row by row.
    """
    order = sorted(range(len(boxes)), key=lambda i: boxes[i].left + boxes[i].right)
    rows: list[list[int]] = []
    for i in order:
        distances = [_distance(boxes[row[-1]], boxes[i]) for row in rows]
        if min(distances, default=math.inf) < math.inf:
            rows[distances.index(min(distances))].append(i)
        else:
            rows.append([i])

    def middle(row):
        return sum(boxes[i].top + boxes[i].bottom for i in row) / len(row)

    return sorted(rows, key=middle)


def _distance(last: Box, following: Box) -> float:
    """Measures how far apart neighbours in a row are; infinite if they are in two rows."""
    shared = min(last.bottom, following.bottom) - max(last.top, following.top)
    lower = min(last.height, following.height)
    gap = following.left - last.right
    if shared < _SHARED * lower or gap > _FARTHEST * max(last.height, following.height):
        return math.inf
    return abs(last.top + last.bottom - following.top - following.bottom) / 2 + 0.1 * gap
