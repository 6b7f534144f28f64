"""Runs compared with those of a reference, seed by seed, and how a table writes it."""

import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

from mnist_flax.common import intervals
from mnist_flax.common.intervals import Difference, Summary

# With fewer pairs no verdict is given: two can agree by chance.
LEAST_PAIRS = 3
LEVEL = 0.05

Name = TypeVar('Name', bound=Hashable)
Accuracies = Mapping[int, float]  # fractions by seed; not a number if the run diverged


class Compared(NamedTuple):
    """Runs compared with those of the reference."""

    difference: Difference | None  # from the reference; None with fewer than two pairs
    p_value: float | None  # adjusted for all comparisons; None without a verdict


def compare(
    accuracies: Mapping[Name, Accuracies], reference: Accuracies
) -> dict[Name, Compared]:
    """Compares samples of runs with a reference, paired by seed.

    The test is Student's paired one, see `intervals.paired_difference`; p-values are
    adjusted by Holm's method for all comparisons of at least `LEAST_PAIRS` pairs. Seeds
    that are missing, or whose run diverged, in either of the two make no pair.
    """
    differences: dict[Name, Difference] = {}
    reference = keep_finite(reference)
    for name, of in accuracies.items():
        finite = keep_finite(of)
        seeds = [seed for seed in finite if seed in reference]
        if len(seeds) >= 2:
            differences[name] = intervals.paired_difference(
                [finite[seed] for seed in seeds], [reference[seed] for seed in seeds]
            )
    judged = {
        name: difference.p_value
        for name, difference in differences.items()
        if difference.n >= LEAST_PAIRS and math.isfinite(difference.p_value)
    }
    p_values = intervals.adjust_p_values([*judged.values()])
    adjusted = dict(zip(judged, p_values, strict=True))
    return {
        name: Compared(differences.get(name), adjusted.get(name)) for name in accuracies
    }


def keep_finite(accuracies: Accuracies) -> dict[int, float]:
    """Leaves out the runs that diverged; sorts by seed."""
    return {i: of for i, of in sorted(accuracies.items()) if math.isfinite(of)}


def summarize(accuracies: Accuracies) -> Summary | None:
    """Sums up the runs that did not diverge; None if there is none."""
    finite = keep_finite(accuracies)
    return intervals.summarize([*finite.values()]) if finite else None


def mean_and_sd(summary: Summary | None) -> str:
    """Writes accuracies in percent."""
    if summary is None:
        return '–'
    sd = f' ± {100 * summary.sd:.2f}' if summary.n > 1 else ''
    return f'{100 * summary.mean:.2f}{sd}'


def in_points(difference: Difference | None) -> str:
    """Writes a difference of accuracies, with its interval, in percentage points."""
    if difference is None:
        return '–'
    points = (100 * of for of in (difference.mean, difference.low, difference.high))
    return '{:+.2f} ({:+.2f} to {:+.2f})'.format(*points)


def p_value(value: float | None) -> str:
    """Writes a p-value."""
    if value is None:
        return '–'
    return '< 0.001' if value < 0.001 else f'{value:.3f}'


def count(summary: Summary | None, num_diverged: int) -> str:
    """Writes how many runs a mean is of, and how many diverged."""
    diverged = f' ({num_diverged} diverged)' if num_diverged else ''
    return f'{summary.n if summary else 0}{diverged}'
