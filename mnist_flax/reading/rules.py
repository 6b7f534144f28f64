"""Printed lines: of ruled and squared paper, and of tables."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Int

from mnist_flax.recognition.pictures import Gray, Mask

# A line has marks in this part of the picture's width, or height if it is upright. It is at
# most so thick, as a part of the longer side: a one that fills its picture is thicker.
_LEAST_LENGTH, _THICKEST = 0.45, 0.022

Places = Int[np.ndarray, 'pixels']

# How steep lines may be, and how far from straight, as a part of their length.
_SLOPES = np.linspace(-0.14, 0.14, 57)
_OFF = 0.008

# Lines may be fainter than strokes: this part of the threshold for those is enough.
_FAINT = 0.6

# Where there is so many times as much ink in a column, a stroke lies on the line.
_MORE = 1.35

# Marks are so many times as dense on a line as beside it.
_CLEARER = 3.0

# Lines are regular if so many of them, and half of all that should be there, are at equal
# distances, or this part of a distance away.
_REGULAR, _IRREGULAR = 4, 0.12

# Then those that were missed are taken, too, if marks cover this part of their length.
_LEAST_PREDICTED = 0.2

# At most so many are missed between two, and so many are on a page.
_MOST_MISSED, _MOST_LINES = 3, 60

# The thickness that is noted where there are no marks; no line is as thick.
_NONE = 10**6

# In smaller pictures no line is thin enough.
_LEAST_SIDE = 100


class _Line(NamedTuple):
    """A line that runs from the left to the right."""

    level: int  # its row in the middle
    slope: float
    thick: float  # in pixels
    amount: float  # of ink in a column
    marks: tuple[Places, Places]  # rows and columns of what is drawn
    band: tuple[Places, Places]  # of where it runs


class Rules(NamedTuple):
    """Lines from margin to margin."""

    marks: Mask  # their marks, without what crosses them
    bands: Mask  # where they run, also where nothing of them is seen
    thick: float  # in pixels


def find(ink: Gray, threshold: float) -> Rules:
    """Finds the printed lines among what is drawn or printed.

    Args:
      ink: How much ink there is.
      threshold: Above it there is ink for sure.
    """
    marks = ink > _FAINT * threshold
    if min(marks.shape) < _LEAST_SIDE:
        return find_none(marks)
    level, step = _find_level(marks, ink)
    upright, other_step = _find_level((marks & ~level.marks).T, ink.T, step)
    if other_step and not step:  # squared paper
        level, _ = _find_level(marks, ink, other_step)
    return Rules(
        level.marks | upright.marks.T,
        level.bands | upright.bands.T,
        max(level.thick, upright.thick),
    )


def find_none(marks: Mask) -> Rules:
    """Returns no lines, of a picture with these marks."""
    return Rules(np.zeros_like(marks), np.zeros_like(marks), 0.0)


def _find_level(marks: Mask, ink: Gray, step: float = 0.0) -> tuple[Rules, float]:
    """Finds lines that run from the left to the right.

    Args:
      marks: Where lines may be.
      ink: How much ink there is.
      step: Distance of lines that are at right angles to these; 0 if not known.

    Returns:
      The lines, and their distance; 0 if that is not known.
    """
    height, width = marks.shape
    thickness, tops = _measure_runs(marks)
    thickness[thickness > max(2.0, _THICKEST * max(height, width))] = 0
    off = max(1, round(_OFF * width))
    # A column counts once, though a line is some pixels thick.
    rows, columns = np.nonzero((thickness > 0) & (tops == np.arange(height)[:, None]))
    choices = []
    for slope in _SLOPES.tolist():
        # How many columns each straight line has a mark in: a Hough transform.
        levels = np.round(rows - slope * (columns - width / 2)).astype(int)
        counts = np.bincount(levels[(levels >= 0) & (levels < height)], minlength=height)
        # Its slope is the one with which it is the straightest.
        straight = np.convolve(counts, np.ones(2 * (off // 4) + 1), 'same')
        counts = np.convolve(counts, np.ones(2 * off + 1), 'same')
        levels = np.flatnonzero(counts >= _LEAST_LENGTH * width)
        choices += [
            (float(straight[level]), -abs(slope), slope, level) for level in levels.tolist()
        ]
    taken = np.zeros(height, bool)
    found: list[_Line] = []
    # The clearest and most level first.
    for *_, slope, level in sorted(choices, reverse=True):
        if not taken[level]:
            line = _follow(thickness, ink, slope, level, off)
            found += [line] if line else []
            taken[max(0, level - 2 * off) : level + 2 * off + 1] = True
    expected, step = _expect([line.level for line in found], height, step)
    slope = float(np.median([line.slope for line in found])) if found else 0.0
    missed = [_follow(thickness, ink, slope, level, off, found) for level in expected]
    lines = find_none(marks)
    if found:
        lines = lines._replace(thick=float(np.median([line.thick for line in found])))
    for line in found + [line for line in missed if line]:
        lines.marks[line.marks] = True
        lines.bands[line.band] = True
    return lines, step


def _expect(levels: list[int], height: int, step: float) -> tuple[list[int], float]:
    """Says where lines at equal distances should be, by those that were found.

    Args:
      levels: The rows in the middle of these.
      height: Of the picture.
      step: The distance, if it is known; else 0.

    Returns:
      Rows in the middle of all of them, and the distance; none and 0 if they are irregular.
    """
    if len(levels) > _MOST_LINES:
        return [], 0.0
    choices = [(level, step) for level in levels if step]
    if not step:
        choices = [
            (one, abs(other - one) / number)
            for one, other in itertools.combinations(levels, 2)
            for number in range(1, _MOST_MISSED + 2)
        ]
    best: tuple[list[int], float] = [], 0.0
    most = 0.0
    for start, distance in choices:
        if distance * _MOST_LINES < height:
            continue
        expected = np.arange(start % distance, height, distance)
        off = np.abs(np.subtract.outer(levels, expected)).min(axis=1)
        number = int((off <= _IRREGULAR * distance).sum())
        least = 2 if step else _REGULAR
        # With half the distance the same lines are found, and more are missed.
        score = number - 0.1 * len(expected)
        if number >= max(least, 0.5 * len(expected)) and score > most:
            best, most = ([round(level) for level in expected.tolist()], distance), score
    return best


def _follow(
    thickness: Int[np.ndarray, 'height width'],
    ink: Gray,
    slope: float,
    level: int,
    off: int,
    like: Sequence[_Line] = (),
) -> _Line | None:
    """Takes the thin marks close to a straight line, if they are one that bends little.

    Args:
      thickness: Of what may be of lines; elsewhere 0.
      ink: How much ink there is.
      slope: How steep it is.
      level: Its row in the middle.
      off: How far its marks are from it, in pixels.
      like: Lines that say that there is one, and what it looks like; none if it is
        to be found by itself.
    """
    height, width = thickness.shape
    reach = 2 * off
    offsets = np.arange(-reach, reach + 1)[:, None]
    rows = np.round(level + slope * (np.arange(width) - width / 2)).astype(int) + offsets
    columns = np.broadcast_to(np.arange(width), rows.shape)
    inside = (rows >= 0) & (rows < height)
    rows = rows.clip(0, height - 1)
    runs = np.where(
        inside & (thickness[rows, columns] > 0), thickness[rows, columns], _NONE
    )
    thinnest = runs.min(axis=0)
    covered = thinnest < _NONE
    # It may leave the picture at the top or bottom.
    within = covered[inside[reach]]
    end = max(3, width // 25)
    has_ends = within[:end].any() and within[-end:].any()
    if covered.mean() < (_LEAST_PREDICTED if like else _LEAST_LENGTH):
        return None
    if not (like or has_ends):
        return None
    thick = float(np.median([of.thick for of in like] if like else thinnest[covered]))
    # Without strokes that cross it.
    band = runs <= 2 * thick + 1
    numbers = band.sum(axis=0)
    covered = numbers > 0
    if not covered.any():
        return None
    # It is where most of the columns around say.
    middles = (band * offsets).sum(axis=0)[covered] / numbers[covered]
    middles = np.interp(np.arange(width), np.flatnonzero(covered), middles)
    middles = scipy.ndimage.median_filter(middles, 2 * (width // 12) + 1, mode='nearest')
    close = (np.abs(offsets - middles) <= thick / 2 + 0.35 * off + 1) & inside
    beside = band[~close]
    is_clear = not beside.size or band[close].mean() >= _CLEARER * beside.mean()
    if not (like or is_clear):
        return None
    taken = band & close & (numbers <= 2 * thick + 1)
    # Where a stroke runs along it, there is more ink in a column; in a pixel there may be
    # more because its neighbour has less.
    amounts = np.where(taken, ink[rows, columns], 0).sum(axis=0)
    usual = [of.amount for of in like] if like else amounts[taken.any(axis=0)]
    amount = float(np.median(usual))
    taken &= amounts <= _MORE * amount
    around = (np.abs(offsets - middles) <= thick / 2 + 1) & inside
    marks = rows[taken], columns[taken]
    return _Line(level, slope, thick, amount, marks, (rows[around], columns[around]))


def _measure_runs(
    marks: Mask,
) -> tuple[Int[np.ndarray, 'height width'], Int[np.ndarray, 'height width']]:
    """Measures the upright run of marks that each pixel is in; also returns its top row."""
    height = len(marks)
    rows = np.arange(height)[:, None]
    above, below = np.pad(marks, ((1, 1), (0, 0)))[:-2], np.pad(marks, ((1, 1), (0, 0)))[2:]
    tops = np.maximum.accumulate(np.where(marks & ~above, rows, -1), axis=0)
    ends = np.where(marks & ~below, rows, height)[::-1]
    ends = np.minimum.accumulate(ends, axis=0)[::-1]
    return np.where(marks, ends - tops + 1, 0), np.where(marks, tops, -1)
