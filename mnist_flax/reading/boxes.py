"""Rectangles around what is drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A level line is so many times as wide as high.
_DASH = 4.0


class Box(NamedTuple):
    """A rectangle in a picture, in pixels; the last column and row are not in it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def size(self) -> int:
        """The longer side."""
        return max(self.width, self.height)

    @property
    def is_dash(self) -> bool:
        """Whether it is as slender as a level line."""
        return self.width >= _DASH * self.height

    def join(self, other: 'Box') -> 'Box':
        """Returns the smallest rectangle around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


def to_box(sides: tuple[slice, slice]) -> Box:
    """Makes one of the slices of rows and columns that SciPy finds."""
    rows, columns = sides
    return Box(columns.start, rows.start, columns.stop, rows.stop)


def usual_size(sizes: Sequence[float | int]) -> float:
    """Takes the median, each counted by its square: specks count little; 0 of none."""
    if not sizes:
        return 0.0
    ordered = np.sort(np.asarray(sizes, float))
    weights = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(weights, weights[-1] / 2)])
