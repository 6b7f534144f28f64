"""The runs of an ablation to its table and figure: what each ingredient is worth."""

import csv
import io
import math
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mnist_flax.common import intervals, tables
from mnist_flax.common.errors import UserError
from mnist_flax.common.intervals import Difference, Summary

RECIPE = 'recipe'  # the variant that changes nothing

# With fewer pairs no verdict is given: two happen to agree too easily.
LEAST_PAIRS = 3
_LEVEL = 0.05

# Under every table.
EXPLANATION = (
    'Differences are means over seeds, each of a variant and the recipe with the same '
    "seed, with Student's interval, which is not adjusted. p is that of the paired t-test, "
    "adjusted by Holm's method for all variants; below 0.05 a variant is called better or "
    'worse. All is measured on the same held-out images: the intervals say what other '
    'seeds would change, not what other images would.'
)


class Cell(NamedTuple):
    """One run: a row of ``results.csv``. Accuracies are fractions, losses nats."""

    variant: str
    seed: int
    validation_accuracy: float  # not a number if the run diverged, as are the next three
    validation_loss: float
    test_accuracy: float
    test_loss: float
    num_parameters: int
    seconds: float  # of training, divided by the runs side by side


class Comparison(NamedTuple):
    """What the runs of a variant say."""

    variant: str
    validation: Summary | None  # accuracies; None if no run has ended well
    test: Summary | None
    difference: Difference | None  # of validation accuracies to the recipe; None without
    p_value: float | None  # adjusted for the number of variants; None without a verdict
    num_failed: int
    num_parameters: int
    seconds: float  # mean


def compare(cells: Sequence[Cell], variants: Sequence[str]) -> list[Comparison]:
    """Compares each variant with the recipe, seed by seed, on held-out accuracy.

    The test is Student's paired one, see `intervals.paired_difference`; p-values are
    adjusted by Holm's method for all comparisons of at least `LEAST_PAIRS` pairs. Seeds
    that are missing, or whose run failed, in a variant or in the recipe make no pair.

    Args:
      cells: The runs there are.
      variants: The names, in the order of the result.

    Returns:
      The comparisons, those of variants without any run included.
    """
    by_variant: dict[str, dict[int, Cell]] = {name: {} for name in variants}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        if cell.variant in by_variant:
            by_variant[cell.variant][cell.seed] = cell
    well = {
        name: {seed: cell for seed, cell in runs.items() if _is_well(cell)}
        for name, runs in by_variant.items()
    }
    differences: dict[str, Difference] = {}
    for name in variants:
        seeds = sorted(well[name].keys() & well.get(RECIPE, {}).keys())
        if name != RECIPE and len(seeds) >= 2:
            differences[name] = intervals.paired_difference(
                [well[name][seed].validation_accuracy for seed in seeds],
                [well[RECIPE][seed].validation_accuracy for seed in seeds],
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
            validation=_summarize(well[name], 'validation_accuracy'),
            test=_summarize(well[name], 'test_accuracy'),
            difference=differences.get(name),
            p_value=adjusted.get(name),
            num_failed=len(runs) - len(well[name]),
            num_parameters=max((cell.num_parameters for cell in runs.values()), default=0),
            seconds=float(np.mean([cell.seconds for cell in runs.values()] or [0.0])),
        )
        for name, runs in by_variant.items()
    ]


def _is_well(cell):
    return math.isfinite(cell.validation_accuracy)


def _summarize(cells, name):
    values = [getattr(cell, name) for cell in cells.values()]
    return intervals.summarize(values) if values else None


def judge(comparison: Comparison) -> str:
    """Says what a comparison shows, and refuses to with fewer than three pairs."""
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
    rows = [
        [
            'variant', 'held-out accuracy, %', 'difference, points (95 % interval)',
            'adjusted p', 'verdict', 'test accuracy, %', 'n', 'parameters', 's a run',
        ]
    ]  # fmt: skip
    for comparison in _sort(comparisons):
        difference, p_value = comparison.difference, comparison.p_value
        failed = f' ({comparison.num_failed} diverged)' if comparison.num_failed else ''
        rows.append(
            [
                comparison.variant,
                _mean_and_sd(comparison.validation),
                _points(difference) if difference else '–',
                _p_value(p_value) if p_value is not None else '–',
                judge(comparison) or '–',
                _mean_and_sd(comparison.test),
                f'{comparison.validation.n if comparison.validation else 0}{failed}',
                f'{comparison.num_parameters:,}',
                f'{comparison.seconds:.0f}',
            ]
        )
    return tables.to_markdown(rows)


def _sort(comparisons):
    def place(comparison):
        difference = comparison.difference
        mean = difference.mean if difference else math.inf
        return comparison.variant != RECIPE, mean

    return sorted(comparisons, key=place)


def _mean_and_sd(summary):
    if summary is None:
        return '–'
    sd = f' ± {100 * summary.sd:.2f}' if summary.n > 1 else ''
    return f'{100 * summary.mean:.2f}{sd}'


def _points(difference):
    mean, low, high = (100 * x for x in (difference.mean, difference.low, difference.high))
    return f'{mean:+.2f} ({low:+.2f} to {high:+.2f})'


def _p_value(p_value):
    return '< 0.001' if p_value < 0.001 else f'{p_value:.3f}'


def plot(comparisons: Sequence[Comparison], title: str) -> Figure:
    """Draws the differences to the recipe with their intervals, sorted."""
    shown = [comparison for comparison in _sort(comparisons) if comparison.difference]
    figure = Figure(figsize=(7.5, 1.6 + 0.36 * len(shown)), layout='constrained')
    axes = figure.subplots()
    colors = {'worse': '#c0392b', 'better': '#1b7f4b'}
    for place, comparison in enumerate(shown):
        mean, low, high = (
            100 * x
            for x in (
                comparison.difference.mean,
                comparison.difference.low,
                comparison.difference.high,
            )
        )
        axes.errorbar(
            mean,
            place,
            xerr=[[mean - low], [high - mean]],
            fmt='o',
            capsize=3,
            color=colors.get(judge(comparison), '#7f8c8d'),
        )
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set(
        title=title,
        xlabel='held-out accuracy less that of the recipe, points (95 % interval)',
        yticks=range(len(shown)),
        yticklabels=[comparison.variant.replace('_', ' ') for comparison in shown],
    )
    axes.invert_yaxis()
    axes.grid(axis='x', alpha=0.3)
    return figure


def to_csv(cells: Sequence[Cell]) -> str:
    """Writes ``results.csv``."""
    return tables.to_csv(Cell._fields, cells)


def from_csv(text: str, path: str) -> list[Cell]:
    """Reads ``results.csv``.

    Args:
      text: Its contents.
      path: Its path, for messages.

    Raises:
      UserError: It is not such a file.
    """
    reader = csv.DictReader(io.StringIO(text))
    cells = []
    try:
        for row in reader:
            values: dict[str, Any] = {
                name: type_(row[name] or math.nan)
                for name, type_ in typing.get_type_hints(Cell).items()
            }
            cells.append(Cell(**values))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'{path}, line {reader.line_num}: found what is no run of an ablation '
            f'({error}); allowed: the columns {", ".join(Cell._fields)}'
        ) from error
    return cells
