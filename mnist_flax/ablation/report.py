"""The table and figure of an ablation: how each variant differs from the recipe."""

import collections
import csv
import io
import math
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mnist_flax.common import tables
from mnist_flax.common.errors import UserError
from mnist_flax.common.intervals import Difference, Summary
from mnist_flax.reporting import comparison
from mnist_flax.reporting.comparison import LEAST_PAIRS, LEVEL, Compared
from mnist_flax.reporting.style import in_our_style

RECIPE = 'recipe'  # the variant that changes nothing

# Under every table.
EXPLANATION = (
    'A difference is the mean over seeds of "variant minus recipe", both with the same '
    "seed. Its interval is Student's and is not adjusted. p is that of the paired t-test, "
    "adjusted by Holm's method for all variants of the table; below 0.05 a variant is "
    'called better or worse. All runs are measured on the same held-out images: the '
    'intervals say what other seeds would change, not what other images would change.'
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
    environment: str  # where it was trained; empty if an earlier version did not note it
    seconds: float  # of training, divided by how many runs can be side by side


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
    """Compares each variant with the recipe, as `comparison.compare` does.

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
    held_out = {
        name: {seed: row.validation_accuracy for seed, row in of.items()}
        for name, of in runs.items()
    }
    compared = comparison.compare(
        {name: of for name, of in held_out.items() if name != RECIPE},
        held_out.get(RECIPE, {}),
    )
    compared[RECIPE] = Compared(None, None)
    return [
        Comparison(
            variant=name,
            validation=comparison.summarize(held_out[name]),
            test=comparison.summarize({i: row.test_accuracy for i, row in of.items()}),
            difference=compared[name].difference,
            p_value=compared[name].p_value,
            num_diverged=len(of) - len(comparison.keep_finite(held_out[name])),
            num_parameters=max((row.num_parameters for row in of.values()), default=0),
            seconds=float(np.mean([row.seconds for row in of.values()] or [0.0])),
        )
        for name, of in runs.items()
    ]


def judge(variant: Comparison) -> str:
    """Says what a comparison shows; with fewer than three pairs it gives no verdict."""
    if variant.variant == RECIPE:
        return ''
    if variant.difference is None or variant.difference.n < LEAST_PAIRS:
        return f'fewer than {LEAST_PAIRS} pairs: no verdict'
    if variant.p_value is None:
        return 'all pairs differ by the same: no verdict'
    if variant.p_value >= LEVEL:
        return 'no difference shown'
    return 'better' if variant.difference.mean > 0 else 'worse'


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """Tabulates comparisons, the recipe first and then by their differences."""
    header = [
        'variant', 'held-out accuracy, %', 'difference, points (95 % interval)',
        'adjusted p', 'verdict', 'test accuracy, %', 'n', 'parameters', 's a run',
    ]  # fmt: skip
    lines = [
        [
            of.variant,
            comparison.mean_and_sd(of.validation),
            comparison.in_points(of.difference),
            comparison.p_value(of.p_value),
            judge(of) or '–',
            comparison.mean_and_sd(of.test),
            comparison.count(of.validation, of.num_diverged),
            f'{of.num_parameters:,}',
            f'{of.seconds:.0f}',
        ]
        for of in _sort(comparisons)
    ]
    return tables.to_markdown([header, *lines])


def _sort(comparisons: Sequence[Comparison]) -> list[Comparison]:
    def key(variant: Comparison) -> tuple[bool, float]:
        difference = variant.difference
        return variant.variant != RECIPE, difference.mean if difference else math.inf

    return sorted(comparisons, key=key)


@in_our_style()
def plot(comparisons: Sequence[Comparison], title: str) -> Figure:
    """Draws the differences from the recipe with their intervals, sorted."""
    shown = [(of, of.difference) for of in _sort(comparisons) if of.difference]
    figure = Figure(figsize=(7.5, 1.6 + 0.36 * len(shown)), layout='constrained')
    axes = figure.subplots()
    colors = {'worse': '#c0392b', 'better': '#1b7f4b'}
    for y, (variant, difference) in enumerate(shown):
        mean, low, high = (100 * x for x in (difference.mean, *difference[2:4]))
        color = colors.get(judge(variant), '#7f8c8d')
        errors = [[mean - low], [high - mean]]
        axes.errorbar(mean, y, xerr=errors, fmt='o', capsize=3, color=color)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set(
        title=title,
        xlabel="held-out accuracy minus the recipe's, percentage points (95 % interval)",
        yticks=range(len(shown)),
        yticklabels=[variant.variant.replace('_', ' ') for variant, _ in shown],
        ylim=(max(1, len(shown)) - 0.5, -0.5),  # the first on top
    )
    axes.grid(axis='x', alpha=0.3)
    return figure


def list_environments(rows: Sequence[Row]) -> str:
    """Says where runs were trained; if not all in one place, how many where."""
    counts = collections.Counter(row.environment for row in rows)
    if len(counts) == 1:
        return rows[0].environment or 'where they were trained was not noted.'
    return ' '.join(
        f'{number} runs: {name or "not noted where."}' for name, number in counts.items()
    )


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
    try:
        return [_to_row(line) for line in reader]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'{path}, line {reader.line_num}: this is not a run of an ablation ({error}); '
            f'the columns must be {", ".join(Row._fields)}'
        ) from error


def _to_row(line: dict[str, Any]) -> Row:
    if None in (*line, *line.values()):
        raise ValueError('another number of cells')
    cells = {'environment': '', **line}  # which earlier versions did not note
    types = typing.get_type_hints(Row)
    values: dict[str, Any] = {
        name: cells[name] if of is str else of(cells[name] or math.nan)
        for name, of in types.items()
    }
    return Row(**values)
