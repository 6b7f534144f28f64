"""The tables of several runs: ``runs.md``, ``runs.csv`` and ``history.csv``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_flax.common import intervals, tables
from mnist_flax.data.datasets import Dataset
from mnist_flax.reporting import selection
from mnist_flax.reporting.selection import Ranked
from mnist_flax.training.results import NUMBERS, RunResult


def to_markdown(
    rows: Sequence[dict[str, Any]], numbers: dict[str, Any], environment: str
) -> str:
    """Tabulates several runs as Markdown, for ``runs.md``.

    Args:
      rows: The rows of ``runs.csv``.
      numbers: The contents of ``metrics.json``.
      environment: Where the runs took place, in a line.

    Returns:
      A row a run, with means and standard deviations over seeds, the confidence interval of
      the means, and the ensemble; of a sweep a row a combination, by held-out accuracy.
    """
    where = f'{len(rows)} runs; {environment}\n'
    if 'points' in numbers:
        ranked = selection.from_json(numbers['points'])
        chosen = selection.describe_choice(ranked)
        test = describe_test(numbers['chosen'])
        more = _tabulate_points(rows, ranked)
        return f'{selection.to_markdown(ranked)}\n{chosen}. {test}.\n\n{more}{where}'
    columns = [  # name, heading, factor, decimals
        ('test_accuracy', 'test accuracy, %', 100, 2),
        ('test_loss', 'test loss', 1, 4),
        ('test_calibration_error', 'calibration error, %', 100, 2),
    ]
    if numbers['validation'] == 'holdout':
        columns.insert(0, ('validation_accuracy', 'held-out accuracy, %', 100, 2))
    columns += [(name, name, 1, 4) for name in _find_others(rows)]
    lines = [['seed', *(heading for _, heading, *_ in columns), 'training, s']]
    for row in rows:
        is_finite = row['diverged_in_epoch'] is None
        cells = [
            f'{k * row[name]:.{n}f}' if is_finite else '–' for name, _, k, n in columns
        ]
        seed = str(row['seed'])
        if not is_finite:
            seed += f' (diverged in epoch {row["diverged_in_epoch"]})'
        lines.append([seed, *cells, f'{row["train_seconds"]:.0f}'])
    if 'sd' in numbers.get('test_accuracy', {}):
        spreads = [(numbers[name], k, n) for name, _, k, n in columns]
        cells = [f'{k * of["mean"]:.{n}f} ± {k * of["sd"]:.{n}f}' for of, k, n in spreads]
        seconds = f'{np.mean([row["train_seconds"] for row in rows]):.0f}'
        lines.append(['mean ± sd', *cells, seconds])
        cells = [
            '{:.{n}f} to {:.{n}f}'.format(
                *(k * end for end in of['mean_95_percent_interval']), n=n
            )
            for of, k, n in spreads
        ]
        lines.append(['95 % interval of the mean', *cells, ''])
        ensemble = numbers['ensemble']
        cells = [
            f'{k * ensemble[name]:.{n}f}' if name in ensemble else '–'
            for name, _, k, n in columns
        ]
        lines.append([f'ensemble of {ensemble["size"]}', *cells, ''])
    return f'{tables.to_markdown(lines)}\n{where}'


def _find_others(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lists the columns of what evaluators have measured of every run."""
    # A run that was finished before an evaluator was named, or after it was removed, lacks
    # its numbers.
    rows = [row for row in rows if row['diverged_in_epoch'] is None] or rows
    names = [*rows[0]]
    return [
        name
        for name in names[names.index('seed') + 1 : names.index('train_seconds')]
        if name not in NUMBERS
        and not name.startswith('train_')
        and all(name in row for row in rows)
    ]


def _tabulate_points(rows: Sequence[dict[str, Any]], ranked: Sequence[Ranked]) -> str:
    """Tabulates what evaluators have measured of each combination of a sweep."""
    others = [name for name in _find_others(rows) if not name.startswith('test_')]
    if not others:
        return ''
    lines = [['combination', *(f'{name}, mean ± sd' for name in others)]]
    names = selection.name_points([of.values for of in ranked])
    for name, of in zip(names, ranked, strict=True):
        members = [
            row
            for row in rows
            if all(row[path] == value for path, value in of.values.items())
            and row['diverged_in_epoch'] is None
        ]
        cells = []
        for other in others:
            values = [row[other] for row in members]
            cells.append(f'{np.mean(values):.4f}' if values else '–')
            if len(values) > 1:
                cells[-1] += f' ± {intervals.summarize(values).sd:.4f}'
        lines.append([name, *cells])
    return f'{tables.to_markdown(lines)}\n'


def history_csv(results: Sequence[RunResult]) -> str:
    """Writes ``history.csv``: a row for each epoch of each run."""
    rows = [row for result in results for row in result.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if len(results) == 1:
        return tables.to_csv(columns, [[row.get(name) for name in columns] for row in rows])
    swept = list(results[0].plan.swept)
    return tables.to_csv(
        [*swept, 'seed', *columns],
        [
            [*result.plan.swept.values(), result.plan.seed, *map(row.get, columns)]
            for result in results
            for row in result.rows
        ],
    )


def run_row(result: RunResult, dataset: Dataset, is_chosen: bool) -> dict[str, Any]:
    """Makes a row of ``runs.csv``."""
    numbers = result.numbers(dataset.test.labels)
    return {
        **result.plan.swept,
        'seed': result.plan.seed,
        # Of a sweep, the test set is looked at for the chosen combination alone.
        **{
            name: of if is_chosen or not name.startswith('test_') else None
            for name, of in numbers.items()
        },
        'train_seconds': result.train_seconds,
        'diverged_in_epoch': result.diverged and result.diverged.epoch,
    }


def describe_held_out(numbers: dict[str, Any]) -> str:
    """Says in a few words what runs came to on the held-out images."""
    accuracy = numbers['validation_accuracy']
    if isinstance(accuracy, float):
        text = f'held-out accuracy {accuracy:.2%}'
    else:
        text = f'held-out accuracy {_describe_spread(accuracy)}'
    return f'{text}{_describe_diverged(numbers)}; metrics.txt has the test accuracy'


def describe_test(numbers: dict[str, Any]) -> str:
    """Says in a few words what runs came to on the test set."""
    if 'test_accuracy' not in numbers:
        return 'all runs diverged'
    accuracy, loss = numbers['test_accuracy'], numbers['test_loss']
    if isinstance(accuracy, float):
        return f'test accuracy {accuracy:.2%}, test loss {loss:.4f}'
    text = f'test accuracy {_describe_spread(accuracy)}'
    if 'sd' in accuracy:
        text += f', ensemble {numbers["ensemble"]["test_accuracy"]:.2%}'
    return text + _describe_diverged(numbers)


def _describe_spread(accuracy: dict[str, Any]) -> str:
    if 'sd' not in accuracy:
        return f'{accuracy["mean"]:.2%}'
    return f'{100 * accuracy["mean"]:.2f} ± {100 * accuracy["sd"]:.2f} % (mean ± sd)'


def _describe_diverged(numbers: dict[str, Any]) -> str:
    if not numbers.get('num_diverged'):
        return ''
    return f'; {numbers["num_diverged"]} of {numbers["num_runs"]} runs diverged'
