"""Several runs to what they say: means with intervals, differences with p-values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

CONFIDENCE = 0.95

NORMAL_97_5 = 1.959964  # 97.5 % point of the standard normal distribution


class Summary(NamedTuple):
    """What a sample of runs says of the runs that could have been."""

    n: int
    mean: float
    sd: float  # of the sample (n - 1), as all below; not a number if n is 1
    min: float
    max: float
    low: float  # 95 % confidence interval of the mean
    high: float


def summarize(values: Sequence[float]) -> Summary:
    """Describes a sample of one number a run.

    The interval is Student's: runs with different seeds are independent, and a mean of a
    handful is near enough to normal.

    Args:
      values: One or more numbers; from one there is no spread and no interval.
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(1, mean, math.nan, mean, mean, math.nan, math.nan)
    # Imported here, as below, so that training need not wait for it.
    import scipy.stats

    sd = float(np.std(values, ddof=1))
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, min(values), max(values), mean - half, mean + half)


def to_dict(summary: Summary) -> dict[str, Any]:
    """Writes a summary for ``metrics.json``; of one run without a spread."""
    numbers = {'mean': summary.mean, 'min': summary.min, 'max': summary.max}
    if summary.n == 1:
        return numbers
    interval = (summary.low, summary.high)
    return {**numbers, 'sd': summary.sd, 'mean_95_percent_interval': interval}


def from_dict(numbers: Mapping[str, Any], n: int) -> Summary:
    """Reads what `to_dict` has written of a sample of n runs."""
    low, high = numbers.get('mean_95_percent_interval', (math.nan, math.nan))
    sd = numbers.get('sd', math.nan)
    return Summary(n, numbers['mean'], sd, numbers['min'], numbers['max'], low, high)


class Difference(NamedTuple):
    """The mean of paired differences, its 95 % confidence interval, and its p-value."""

    n: int
    mean: float
    low: float
    high: float
    p_value: float  # two-sided, of no difference; not a number if there is no spread


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """Compares two samples whose runs are pairs, by Student's paired t-test.

    Runs with the same seed share their initial parameters and the order of their data; what
    of the spread comes from these drops out of the differences. The signed-rank test, which
    assumes no normality, cannot find p < 0.05 with five pairs or fewer.

    Args:
      values: A number a run; two or more.
      reference: Those of their partners, in the same order.
    """
    differences = np.subtract(values, reference)
    n, mean, sd, *_, low, high = summarize(differences.tolist())
    # Accuracies are counts, so that a few pairs may all differ by the same: to divide by a
    # spread of 0, or of rounding, would be to be certain.
    if sd < 1e-12:
        return Difference(n, mean, low, high, math.nan)
    import scipy.stats

    p_value = float(scipy.stats.ttest_1samp(differences, 0).pvalue)
    return Difference(n, mean, low, high, p_value)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Corrects the p-values of several comparisons, by Holm's method.

    The chance of one false finding among all of them stays below the level at which the
    adjusted values are judged, however they depend on each other.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(np.argsort(p_values, kind='stable')):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def wilson_interval(correct: float | int, total: int) -> tuple[float, float]:
    """Gives the 95 % interval of an accuracy measured on a sample of images.

    The score interval of Wilson (1927), "Probable inference, the law of succession, and
    statistical inference": unlike the normal one it stays within [0, 1] and holds near 1.

    Args:
      correct: Number of images recognised; of several networks, their mean.
      total: Number of images, at least 1.

    Returns:
      Lower and upper bound, as fractions.
    """
    z = NORMAL_97_5
    p = correct / total
    centre = p + z**2 / (2 * total)
    half_width = z * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    # Rounding may lead out by a hair.
    low, high = (centre - half_width) / scale, (centre + half_width) / scale
    # Rounding may leave out what was found.
    return max(0.0, min(low, p)), min(1.0, max(high, p))
