"""The table and figure of an ablation: how each variant differs from the recipe."""

import csv
import io
import math
import typing
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mnist_flax.common import intervals, tables
from mnist_flax.common.errors import UserError
from mnist_flax.common.intervals import Difference, Summary

RECIPE = 'recipe'  # the variant that changes nothing

# With fewer pairs no verdict is given: two can agree by chance.
LEAST_PAIRS = 3
_LEVEL = 0.05

# Under every table.
EXPLANATION = (
    'A difference is the mean over seeds of "variant minus recipe", both with the same '
    "seed. Its interval is Student's and is not adjusted. p is that of the paired t-test, "
    "adjusted by Holm's method for all variants; below 0.05 a variant is called better or "
    'worse. All runs are measured on the same held-out images: the intervals say what '
    'other seeds would change, not what other images would change.'
)


class Row(NamedTuple):
    """One run, as in ``results.csv``; accuracies are fractions, losses in nats."""

    variant: str
    seed: int
    validation_accuracy: float  # not a number if the run diverged, as are the next three
    validation_loss: float
    test_accuracy: float
    test_loss: float
    num_parameters: int
    seconds: float  # of training, divided by the runs side by side


class Comparison(NamedTuple):
    """The runs of a variant, summed up and compared with those of the recipe."""

    variant: str
    validation: Summary | None  # accuracies; None if all runs diverged
    test: Summary | None  # likewise
    difference: Difference | None  # of held-out accuracy; None with fewer than two pairs
    p_value: float | None  # adjusted for the number of variants; None without a verdict
    num_diverged: int
    num_parameters: int
    seconds: float  # mean


def compare(rows: Sequence[Row], variants: Sequence[str]) -> list[Comparison]:
    """Compares each variant with the recipe, seed by seed, on held-out accuracy.

    The test is Student's paired one, see `intervals.paired_difference`; p-values are
    adjusted by Holm's method for all comparisons of at least `LEAST_PAIRS` pairs. Seeds
    that are missing, or whose run diverged, in a variant or in the recipe make no pair.

    Args:
      rows: The runs there are.
      variants: The names, in the order of the result.

    Returns:
      The comparisons, with those of variants without any run.
    """
    runs: dict[str, dict[int, Row]] = {name: {} for name in variants}
    for row in sorted(rows, key=lambda row: row.seed):
        if row.variant in runs:
            runs[row.variant][row.seed] = row
    finite = {
        name: {i: row for i, row in of.items() if math.isfinite(row.validation_accuracy)}
        for name, of in runs.items()
    }
    differences: dict[str, Difference] = {}
    for name in variants:
        seeds = sorted(finite[name].keys() & finite.get(RECIPE, {}).keys())
        if name != RECIPE and len(seeds) >= 2:
            differences[name] = intervals.paired_difference(
                [finite[name][seed].validation_accuracy for seed in seeds],
                [finite[RECIPE][seed].validation_accuracy for seed in seeds],
            )
    judged = [
        name
        for name, difference in differences.items()
        if difference.n >= LEAST_PAIRS and math.isfinite(difference.p_value)
    ]
    p_values = intervals.adjust_p_values([differences[name].p_value for name in judged])
    adjusted = dict(zip(judged, p_values, strict=True))
    return [
        Comparison(
            variant=name,
            validation=_summarize(
                [row.validation_accuracy for row in finite[name].values()]
            ),
            test=_summarize([row.test_accuracy for row in finite[name].values()]),
            difference=differences.get(name),
            p_value=adjusted.get(name),
            num_diverged=len(of) - len(finite[name]),
            num_parameters=max((row.num_parameters for row in of.values()), default=0),
            seconds=float(np.mean([row.seconds for row in of.values()] or [0.0])),
        )
        for name, of in runs.items()
    ]


def _summarize(values: list[float]) -> Summary | None:
    return intervals.summarize(values) if values else None


def judge(comparison: Comparison) -> str:
    """Says what a comparison shows; with fewer than three pairs it gives no verdict."""
    if comparison.variant == RECIPE:
        return ''
    if comparison.difference is None or comparison.difference.n < LEAST_PAIRS:
        return f'fewer than {LEAST_PAIRS} pairs: no verdict'
    if comparison.p_value is None:
        return 'all pairs differ by the same: no verdict'
    if comparison.p_value >= _LEVEL:
        return 'no difference shown'
    return 'better' if comparison.difference.mean > 0 else 'worse'


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """Tabulates comparisons, the recipe first and then by their differences."""
    lines = [
        [
            'variant', 'held-out accuracy, %', 'difference, points (95 % interval)',
            'adjusted p', 'verdict', 'test accuracy, %', 'n', 'parameters', 's a run',
        ]
    ]  # fmt: skip
    for comparison in _sort(comparisons):
        difference, p_value = comparison.difference, comparison.p_value
        diverged = comparison.num_diverged
        lines.append(
            [
                comparison.variant,
                _mean_and_sd(comparison.validation),
                '{:+.2f} ({:+.2f} to {:+.2f})'.format(*_to_points(difference))
                if difference
                else '–',
                _p_value(p_value) if p_value is not None else '–',
                judge(comparison) or '–',
                _mean_and_sd(comparison.test),
                f'{comparison.validation.n if comparison.validation else 0}'
                + (f' ({diverged} diverged)' if diverged else ''),
                f'{comparison.num_parameters:,}',
                f'{comparison.seconds:.0f}',
            ]
        )
    return tables.to_markdown(lines)


def _sort(comparisons: Sequence[Comparison]) -> list[Comparison]:
    def key(comparison: Comparison) -> tuple[bool, float]:
        difference = comparison.difference
        return comparison.variant != RECIPE, difference.mean if difference else math.inf

    return sorted(comparisons, key=key)


def _mean_and_sd(summary: Summary | None) -> str:
    if summary is None:
        return '–'
    sd = f' ± {100 * summary.sd:.2f}' if summary.n > 1 else ''
    return f'{100 * summary.mean:.2f}{sd}'


def _to_points(difference: Difference) -> tuple[float, float, float]:
    """Converts a mean and its interval to percentage points."""
    return 100 * difference.mean, 100 * difference.low, 100 * difference.high


def _p_value(p_value: float) -> str:
    return '< 0.001' if p_value < 0.001 else f'{p_value:.3f}'


def plot(comparisons: Sequence[Comparison], title: str) -> Figure:
    """Draws the differences from the recipe with their intervals, sorted."""
    shown = [(of, of.difference) for of in _sort(comparisons) if of.difference]
    figure = Figure(figsize=(7.5, 1.6 + 0.36 * len(shown)), layout='constrained')
    axes = figure.subplots()
    colors = {'worse': '#c0392b', 'better': '#1b7f4b'}
    for y, (comparison, difference) in enumerate(shown):
        mean, low, high = _to_points(difference)
        color = colors.get(judge(comparison), '#7f8c8d')
        errors = [[mean - low], [high - mean]]
        axes.errorbar(mean, y, xerr=errors, fmt='o', capsize=3, color=color)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set(
        title=title,
        xlabel="held-out accuracy minus the recipe's, percentage points (95 % interval)",
        yticks=range(len(shown)),
        yticklabels=[comparison.variant.replace('_', ' ') for comparison, _ in shown],
        ylim=(max(1, len(shown)) - 0.5, -0.5),  # the first on top
    )
    axes.grid(axis='x', alpha=0.3)
    return figure


def to_csv(rows: Sequence[Row]) -> str:
    """Writes ``results.csv``."""
    return tables.to_csv(Row._fields, rows)


def from_csv(text: str, path: str) -> list[Row]:
    """Reads ``results.csv``.

    Args:
      text: Its contents.
      path: Its path, for messages.

    Raises:
      UserError: It is not such a file.
    """
    reader = csv.DictReader(io.StringIO(text))
    types = typing.get_type_hints(Row)
    try:
        return [
            Row(**{name: type_(line[name] or math.nan) for name, type_ in types.items()})
            for line in reader
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'{path}, line {reader.line_num}: this is not a run of an ablation ({error}); '
            f'the columns must be {", ".join(Row._fields)}'
        ) from error
