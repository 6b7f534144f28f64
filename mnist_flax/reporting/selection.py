"""The points of a sweep, ranked by held-out accuracy, and what cannot be told apart."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mnist_flax.common import intervals, tables
from mnist_flax.common.intervals import Difference, Summary
from mnist_flax.reporting import comparison
from mnist_flax.reporting.comparison import LEAST_PAIRS, LEVEL, Accuracies, Compared

BEST, SAME = 'best', 'not distinguishable from the best'
WORSE, NO_VERDICT, DIVERGED = 'worse', 'no verdict', 'diverged'

RANKING = (
    'Points are ranked by mean held-out accuracy. Those with more diverged runs come later '
    'and are not compared, since the runs that are left are the lucky ones.'
)

# The rates are those of 20,000 simulated sweeps with normal noise each: of 2 to 30 points,
# with 3 to 10 seeds and gaps of 0 to 3 standard deviations, the truly best is called worse
# in at most 2.5 %.
COMPARISON = (
    'A difference is the mean over seeds of "point minus best", both with the same seed. '
    "Its interval is Student's and is not adjusted. p is that of the paired t-test, "
    "adjusted by Holm's method for all points; below 0.05 a point is called worse. The "
    'best was chosen by these same numbers: its accuracy is a little too high, and others '
    'are called worse a little too easily (of 5 equal points with 5 seeds some are in 8 % '
    'of sweeps, not in 5 %). The truly best point is called worse in less than 3 %. '
    'All runs are measured on the same held-out images: the intervals say what other seeds '
    'would change, not what other images would change.'
)


class Point(NamedTuple):
    """A combination of swept values; all points of a sweep have the same seeds."""

    values: Mapping[str, Any]  # by the path of their field
    accuracies: Accuracies  # held-out


class Ranked(NamedTuple):
    """A point of a sweep, compared with the best."""

    position: int  # of the point in the sweep, counted from 0
    values: Mapping[str, Any]
    accuracies: Accuracies  # held-out
    summary: Summary | None  # of the runs that did not diverge; None if all did
    num_diverged: int
    difference: Difference | None  # from the best; None if not compared
    p_value: float | None  # adjusted for all comparisons; None without a verdict
    verdict: str


def rank(points: Iterable[Point]) -> list[Ranked]:
    """Ranks the points of a sweep by mean held-out accuracy, the best first.

    Points with fewer diverged runs come before those with more: so a point of which a run
    diverged is the best only if this is so for all points, and it is never compared. Of
    points with the same mean the first of the sweep comes first.

    Args:
      points: In the order of the sweep.
    """
    numbered = dict(enumerate(points))
    summaries = {i: comparison.summarize(of.accuracies) for i, of in numbered.items()}
    diverged = {
        i: len(of.accuracies) - len(comparison.keep_finite(of.accuracies))
        for i, of in numbered.items()
    }

    def key(i: int) -> tuple[int, float]:
        summary = summaries[i]
        # Means of the same counts may differ by rounding.
        return diverged[i], -round(summary.mean, 9) if summary else 0.0

    best, *others = sorted(numbered, key=key)
    compared = comparison.compare(
        {i: numbered[i].accuracies for i in others if not diverged[i]},
        numbered[best].accuracies,
    )
    verdicts = {i: _judge(of) for i, of in compared.items()}
    if summaries[best]:
        verdicts[best] = BEST
    return [
        Ranked(
            i, *numbered[i], summaries[i], diverged[i],
            *compared.get(i, Compared(None, None)), verdicts.get(i, DIVERGED),
        )
        for i in (best, *others)
    ]  # fmt: skip


def _judge(compared: Compared) -> str:
    if compared.p_value is None:
        return NO_VERDICT
    return WORSE if compared.p_value < LEVEL else SAME


def name_fields(points: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Names swept fields as briefly as tells them apart: ``learning_rate``.

    Args:
      points: The values of each point, by the path of their field.

    Returns:
      The end of each path, by the path.
    """
    paths = {path: path.split('.') for values in points for path in values}

    def name(path: str) -> str:
        parts = paths[path]
        for n in range(1, len(parts)):
            if sum(other[-n:] == parts[-n:] for other in paths.values()) == 1:
                return '.'.join(parts[-n:])
        return path

    return {path: name(path) for path in paths}


def name_points(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names each point by its values: ``learning_rate=0.001, features=(32, 64)``."""
    names = name_fields(points)
    return [
        ', '.join(f'{names[path]}={name_value(value)}' for path, value in values.items())
        for values in points
    ]


def name_value(value: Any) -> str:
    """Writes a swept value; a subtree with a constructor as a call of it."""
    if isinstance(value, float):
        return f'{value:g}'
    if isinstance(value, list | tuple):
        return f'({", ".join(map(name_value, value))})'
    if isinstance(value, dict):
        fields = [f'{k}={name_value(v)}' for k, v in value.items() if k != 'constructor']
        return f'{value.get("constructor", "")}({", ".join(fields)})'
    return str(value)


def to_markdown(ranked: Sequence[Ranked]) -> str:
    """Tabulates ranked points, for ``runs.md``, with the explanation."""
    compared = any(of.difference for of in ranked)
    notes = [_note(ranked), RANKING, COMPARISON if compared else '']
    return f'{tables.to_markdown(_tabulate(ranked))}\n{" ".join(filter(None, notes))}\n'


def to_text(ranked: Sequence[Ranked], most: int = 10) -> str:
    """Tabulates ranked points in plain text, without what fills a terminal's line.

    Args:
      ranked: The points.
      most: How many to show; the others are counted.
    """
    table = tables.to_columns(
        _tabulate(ranked[:most], left_out=('95 % interval', 'adjusted p'))
    )
    left = len(ranked) - most
    lines = [f'... and {left} more in runs.md' if left > 0 else '', _note(ranked)]
    return table + ''.join(f'{line}\n' for line in lines if line)


def describe_choice(ranked: Sequence[Ranked]) -> str:
    """Says which point was chosen, and what cannot be told apart from it."""
    best = ranked[0]
    if best.summary is None:
        return 'nothing was chosen: all runs diverged'
    names = name_points([of.values for of in ranked])
    accuracy = comparison.mean_and_sd(best.summary)
    text = f'chosen by held-out accuracy: {names[0]} ({accuracy} %'
    if best.num_diverged:
        text += f'; {best.num_diverged} of {len(best.accuracies)} runs diverged'
    text += ')'
    same = [name for name, of in zip(names, ranked, strict=True) if of.verdict == SAME]
    if len(same) > 4:
        same[3:] = [f'{len(same) - 3} more']
    return f'{text}; not distinguishable from it: {"; ".join(same)}' if same else text


def to_json(ranked: Sequence[Ranked]) -> list[dict[str, Any]]:
    """Writes ranked points as the list ``points`` of ``metrics.json``."""
    return [
        {
            'values': dict(of.values),
            'verdict': of.verdict,
            'num_runs': len(of.accuracies),
            'num_diverged': of.num_diverged,
            'held_out_accuracy': of.summary and intervals.to_dict(of.summary),
            'difference_from_best': of.difference and of.difference.mean,
            'difference_95_percent_interval': of.difference and of.difference[2:4],
            'adjusted_p_value': of.p_value,
            'held_out_accuracy_of_seeds': {
                str(seed): value if math.isfinite(value) else None
                for seed, value in of.accuracies.items()
            },
        }
        for of in ranked
    ]


def from_json(points: Iterable[Mapping[str, Any]]) -> list[Ranked]:
    """Ranks the points that `to_json` has written."""
    return rank(
        Point(
            of['values'],
            {
                int(seed): math.nan if value is None else value
                for seed, value in of['held_out_accuracy_of_seeds'].items()
            },
        )
        for of in points
    )


def _tabulate(ranked: Sequence[Ranked], left_out: Sequence[str] = ()) -> list[list[str]]:
    """Returns the header and a row a point; columns that would be empty are left out."""
    names = name_fields(of.values for of in ranked)
    header = [
        *names.values(), 'held-out accuracy, %', '95 % interval',
        'difference, points (95 % interval)', 'adjusted p', 'verdict', 'n',
    ]  # fmt: skip
    rows = [
        [
            *(name_value(of.values[path]) if path in of.values else '–' for path in names),
            comparison.mean_and_sd(of.summary),
            _interval(of.summary),
            comparison.in_points(of.difference),
            comparison.p_value(of.p_value),
            of.verdict,
            comparison.count(of.summary, of.num_diverged),
        ]
        for of in ranked
    ]
    kept = [
        i
        for i, name in enumerate(header)
        if name not in left_out and any(row[i] != '–' for row in rows)
    ]
    return [[row[i] for i in kept] for row in (header, *rows)]


def _interval(summary: Summary | None) -> str:
    if summary is None or summary.n < 2:
        return '–'
    return f'{100 * summary.low:.2f} to {100 * summary.high:.2f}'


def _note(ranked: Sequence[Ranked]) -> str:
    """Says what is missing if there are too few seeds for a verdict."""
    num_seeds = max(len(of.accuracies) for of in ranked)
    if num_seeds >= LEAST_PAIRS or len(ranked) == 1:
        return ''
    runs = 'One run' if num_seeds == 1 else f'{num_seeds} runs'
    return (
        f'{runs} each: config.runs={LEAST_PAIRS} or more would show which differences are '
        'more than chance.'
    )
