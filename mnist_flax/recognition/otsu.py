"""Otsu's threshold, which tells dark from bright."""

from typing import NamedTuple

import numpy as np

from mnist_flax.recognition.pictures import Gray


class Threshold(NamedTuple):
    """A threshold, and how well it separates."""

    value: float
    separation: float  # the variance between the two sides, as a part of all
    within: float  # the variance within them


def find_threshold(values: Gray) -> Threshold:
    """Finds the threshold between two kinds of values.

    Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    total = float(values.var())
    if total < 1e-12:
        return Threshold(0.0, 0.0, 0.0)
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = below * above * difference**2
    # The middle of equally good ones, where the histogram has a gap.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    value = (edges[best[0] + 1] + edges[best[-1] + 1]) / 2
    explained = float(between.max()) / values.size**2
    return Threshold(float(value), explained / total, total - explained)
