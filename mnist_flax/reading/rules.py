"""Printed lines: of ruled and squared paper, and of tables."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Int

from mnist_flax.recognition.pictures import Gray, Mask

# A line has marks in this part of the picture's width, or height if it is upright. It is at
# most so thick, as a part of the longer side: a one that fills its picture is thicker.
_LEAST_LENGTH, _THICKEST = 0.45, 0.022

# How steep lines may be, and how far from straight, as a part of their length.
_SLOPES = np.linspace(-0.14, 0.14, 57)
_OFF = 0.008

# Lines may be fainter than strokes: a part of the threshold for these. The ink of a line
# varies less than by this factor.
_FAINT, _MORE = 0.6, 1.35

# Marks are so many times as dense on a line as beside it.
_CLEARER = 3.0

# In smaller pictures no line is thin enough.
_LEAST_SIDE = 100


class Rules(NamedTuple):
    """Lines from margin to margin."""

    marks: Mask  # their marks, without what crosses them
    bands: Mask  # where they run, also where nothing of them is seen


def find(ink: Gray, threshold: float) -> Rules:
    """Finds the printed lines among what is drawn or printed.

    Args:
      ink: How much ink there is.
      threshold: Above it there is ink for sure.
    """
    marks = ink > _FAINT * threshold
    if min(marks.shape) < _LEAST_SIDE:
        return Rules(np.zeros_like(marks), np.zeros_like(marks))
    level = _find_level(marks, ink)
    upright = _find_level((marks & ~level.marks).T, ink.T)
    return Rules(level.marks | upright.marks.T, level.bands | upright.bands.T)


def _find_level(marks: Mask, ink: Gray) -> Rules:
    """Finds lines that run from the left to the right."""
    height, width = marks.shape
    found = Rules(np.zeros_like(marks), np.zeros_like(marks))
    thickness, tops = _measure_runs(marks)
    thin = marks & (thickness <= max(2.0, _THICKEST * max(height, width)))
    off = max(1, round(_OFF * width))
    # A column counts once, though a line is some pixels thick.
    rows, columns = np.nonzero(thin & (tops == np.arange(height)[:, None]))
    lines = []
    for slope in _SLOPES.tolist():
        # How many columns each straight line has a mark in: a Hough transform.
        levels = np.round(rows - slope * (columns - width / 2)).astype(int)
        counts = np.bincount(levels[(levels >= 0) & (levels < height)], minlength=height)
        counts = np.convolve(counts, np.ones(2 * off + 1), 'same')
        levels = np.flatnonzero(counts >= _LEAST_LENGTH * width)
        lines += [
            (float(counts[level]), -abs(slope), slope, level) for level in levels.tolist()
        ]
    taken = np.zeros(height, bool)
    for *_, slope, level in sorted(
        lines, reverse=True
    ):  # the clearest and most level first
        if taken[level]:
            continue
        line = _follow(thin, ink, slope, level, off)
        if line is not None:
            found = Rules(found.marks | line.marks, found.bands | line.bands)
        taken[max(0, level - 2 * off) : level + 2 * off + 1] = True
    return found


def _follow(thin: Mask, ink: Gray, slope: float, level: int, off: int) -> Rules | None:
    """Takes the thin marks close to a straight line, if they are one that bends little.

    Args:
      thin: What may be of lines.
      ink: How much ink there is.
      slope: How steep it is.
      level: Its row in the middle.
      off: How far its marks are from it, in pixels.
    """
    height, width = thin.shape
    reach = 2 * off
    offsets = np.arange(-reach, reach + 1)[:, None]
    rows = np.round(level + slope * (np.arange(width) - width / 2)).astype(int) + offsets
    columns = np.broadcast_to(np.arange(width), rows.shape)
    inside = (rows >= 0) & (rows < height)
    rows = rows.clip(0, height - 1)
    band = thin[rows, columns] & inside
    numbers = band.sum(axis=0)
    covered = numbers > 0
    end = max(3, width // 25)
    has_ends = covered[:end].any() and covered[-end:].any()
    if covered.mean() < _LEAST_LENGTH or not has_ends:
        return None
    # It is where most of the columns around say.
    middles = (band * offsets).sum(axis=0)[covered] / numbers[covered]
    middles = np.interp(np.arange(width), np.flatnonzero(covered), middles)
    middles = scipy.ndimage.median_filter(middles, 2 * (width // 12) + 1, mode='nearest')
    thick = float(np.median(numbers[covered]))
    close = (np.abs(offsets - middles) <= thick / 2 + 0.35 * off + 1) & inside
    beside = band[~close]
    if beside.size and band[close].mean() < _CLEARER * beside.mean():
        return None
    taken = band & close & (numbers <= 2 * thick + 1)
    line = Rules(np.zeros_like(thin), np.zeros_like(thin))
    places = rows[taken], columns[taken]
    # Where a stroke runs along it, there is more ink.
    line.marks[places] = ink[places] <= _MORE * np.percentile(ink[places], 80)
    line.bands[rows[close], columns[close]] = True
    return line


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
