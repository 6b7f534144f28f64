"""Marks on paper: what is darker, or brighter, than the paper close to it."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage

from mnist_flax.recognition import light
from mnist_flax.recognition.pictures import Colours, Gray

# What is wider than this part of the picture's shorter side is no stroke.
_WINDOW = 0.25

# Bright specks have this part of the picture's shorter side, and at most so many pixels.
_SPECK = 0.01, 9

# Whether marks are dark or bright is decided on a smaller picture, of this longer side or
# up to twice.
_REDUCED_SIDE = 250

# The brightness of a channel in which paper of a strong colour is dark.
_STRONG_COLOUR = 0.1

# Neither is sure if it leaves more than this part of the edges that the other leaves.
_UNSURE = 0.6

# Standard deviation of the noise of a mark that may be seen, and the least difference from
# the paper.
NOISE, _LEAST = 4.5, 0.055


class Marks(NamedTuple):
    """Marks on a sheet."""

    ink: Gray  # from 0 on paper to 1 for black on white, or white on black
    threshold: float  # above it there is a mark


def find(colours: Colours, are_dark: bool) -> Marks:
    """Finds marks in any light: under lamps and shadows, faint ones beside strong ones.

    The paper is the morphological closing of the picture (Serra 1982, "Image Analysis and
    Mathematical Morphology") with a window wider than strokes: it follows lamps, vignettes
    and the edges of shadows. What is left depends on the ink alone, so that one threshold,
    by the noise, does for the whole picture.

    Args:
      colours: The picture, from 0 to 1.
      are_dark: Whether marks are darker than the paper, not brighter.
    """
    # An ink of any colour is dark in one of the channels at least, and paper in none,
    # unless it is of a strong colour.
    gray = colours.min(axis=-1) if are_dark else 1 - colours.max(axis=-1)
    if np.median(gray) < _STRONG_COLOUR:
        mean = colours.mean(axis=-1)
        gray = mean if are_dark else 1 - mean
    gray = scipy.ndimage.gaussian_filter(gray, max(0.5, max(gray.shape) / 1500))
    # Bright specks, such as JPEG leaves beside strokes, would count as paper.
    speck = min(_SPECK[1], round(_SPECK[0] * min(gray.shape)))
    even = scipy.ndimage.grey_opening(gray, (speck, speck)) if speck > 1 else gray
    paper = np.maximum(light.close(even, _WINDOW), 0.03)
    ink = 1 - gray / paper
    # The closing is as bright as the brightest grain of the paper.
    usual = float(np.median(ink))
    ink = (ink - usual) / max(1 - usual, 0.01)
    below = ink[ink <= 0]
    noise = 1.4826 * float(np.median(-below)) if below.size else 0.0
    return Marks(np.clip(ink, 0, 1), max(NOISE * noise, _LEAST))


def find_ways(colours: Colours) -> list[bool]:
    """Says whether marks may be darker than the paper: the likelier first, or only that.

    Args:
      colours: The picture, from 0 to 1.
    """
    factor = max(1, max(colours.shape[:2]) // _REDUCED_SIDE)
    gray = light.average(colours.mean(axis=-1), factor)
    # Of paper without its marks few edges are left.
    dark = _measure_edges(light.close(gray, _WINDOW))
    bright = _measure_edges(light.close(-gray, _WINDOW))
    ways = [True, False] if dark <= bright else [False, True]
    return ways if min(dark, bright) > _UNSURE * max(dark, bright) else ways[:1]


def _measure_edges(paper: Gray) -> float:
    return float(np.hypot(*np.gradient(paper)).sum())
