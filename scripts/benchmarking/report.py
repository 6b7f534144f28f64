"""Numbers of `scripts/benchmark.py` to tables."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_flax.common import tables

OURS = 'mnist_flax'
TARGET_ACCURACY = 0.99


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Computes the median over rounds of ours / theirs, both of the same round.

    The contenders of a round run one after another, so a machine that is slower for a
    while is so for both.
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def to_markdown(results: Mapping[str, Any]) -> str:
    """Tabulates the parts that were run.

    Args:
      results: The contents of ``benchmark.json``.

    Returns:
      The contents of ``benchmark.md``.
    """
    environment = results['environment']
    versions = '; '.join(
        ', '.join([name, *(f'{package} {version}' for package, version in found.items())])
        for name, found in environment['versions'].items()
    )
    parts = {
        'epoch': _epoch_table,
        'scaling': _scaling_table,
        'time_to_99': _time_table,
        'population': _population_table,
    }
    sections = [table(results) for part, table in parts.items() if part in results]
    where = f'{environment["cpu"]}, {environment["cores"]} cores; {versions}.'
    return '\n'.join([*sections, where, '', f'`{results["command"]}`']) + '\n'


def _epoch_table(results: Mapping[str, Any]) -> str:
    part = results['epoch']
    rounds = results['rounds']
    rows = [
        [
            'contender',
            'set-up and compilation, s',
            'epoch, s: median (min–max)',
            'ours/theirs',
            f'evaluation of {results["num_test_examples"]:,} images, s: median',
            'ours/theirs',
            f'test accuracy after {rounds} epochs, %',
        ]
    ]
    for name, numbers in part.items():
        epochs = numbers['epoch_seconds']
        rows.append(
            [
                name,
                f'{numbers["setup_seconds"]:.1f}',
                _median_and_range(epochs),
                _compare(part, name, lambda contender: contender['epoch_seconds']),
                seconds_to_text(statistics.median(all_evaluations(numbers))),
                _compare(part, name, _evaluation_of_each_round),
                f'{100 * numbers["test_accuracy"][-1]:.2f}',
            ]
        )
    return (
        f'An epoch of {results["num_examples"]:,} images in batches of 128, and the '
        f'evaluation; {rounds} rounds, in turns; the ratio is the median of the rounds:\n\n'
    ) + tables.to_markdown(rows)


def _scaling_table(results: Mapping[str, Any]) -> str:
    by_batch_size, by_examples = scaling_series(results)
    texts = []
    for caption, unit, series, to_text in (
        (
            f'Training on {results["num_examples"] // 4:,} images, images/s by batch size',
            'batch size',
            by_batch_size,
            lambda speed: f'{speed:,.0f}',
        ),
        (
            'An epoch, s, by number of images, batches of 128',
            'images',
            by_examples,
            seconds_to_text,
        ),
    ):
        sizes = next(iter(series.values()))
        rows = [
            [f'contender \\ {unit}', *(f'{size:,}' for size in sizes)],
            *(
                [name, *(to_text(statistics.median(values)) for values in row.values())]
                for name, row in series.items()
            ),
        ]
        texts.append(f'{caption}; median of the passes:\n\n{tables.to_markdown(rows)}')
    return '\n'.join(texts)


def _time_table(results: Mapping[str, Any]) -> str:
    part = results['time_to_99']['runs']
    rows = [
        [
            'contender',
            'mean, s',
            'each run, s',
            'ours/theirs',
            'test accuracy, %',
            'epochs',
            'until compiled, s',
        ]
    ]
    means = {name: mean_time(runs) for name, runs in part.items()}
    for name, runs in part.items():
        ours, theirs = means.get(OURS), means[name]
        rows.append(
            [
                name,
                '–' if theirs is None else f'{theirs:.1f}',
                ', '.join(f'{run["seconds"]:.1f}' for run in runs),
                f'{ours / theirs:.2f}' if ours and theirs else '–',
                ', '.join(f'{100 * run["test_accuracy"]:.2f}' for run in runs),
                ', '.join(str(run['epochs']) for run in runs),
                ', '.join(
                    f'{run["start_up_seconds"]:.1f}'
                    for run in runs
                    if run.get('start_up_seconds')
                )
                or '–',
            ]
        )
    first = results['time_to_99']['first_run_seconds']
    return (
        f'From the start of the process to {TARGET_ACCURACY:.0%} test accuracy, a run a '
        f'seed. {OURS} is its whole command with configs/fast.py (two epochs, the rate '
        'falling from 4e-3), report and all'
        + (f', after a first run that compiled and took {first:.1f} s' if first else '')
        + '; the others are the classic recipe (a constant 1e-3), and end with the first '
        'epoch after which they are there. The ratio is of recipe and speed:\n\n'
    ) + tables.to_markdown(rows)


def _population_table(results: Mapping[str, Any]) -> str:
    part = results['population']
    # What a default run of ten epochs of 60,000 images would take.
    scale = 10 * 60000 / part['num_examples']
    rows = [
        [
            'runs', 'one after another: runs an hour', 'one on each core', 'ratio',
            'all in one program', 'ratio',
        ]
    ]  # fmt: skip
    for measured in part['runs']:
        seconds = measured['seconds']
        one_by_one = seconds['one_after_another']
        row = [str(measured['num_runs'])]
        for way, times in seconds.items():
            per_hour = 3600 * measured['num_runs'] / (scale * statistics.median(times))
            row.append(f'{per_hour:.0f}')
            if way != 'one_after_another':
                row.append(f'{median_ratio(one_by_one, times):.2f}')
        rows.append(row)
    return (
        'Runs of mnist_flax, 10 epochs of 60,000 images; measured on '
        f'{part["num_examples"]:,} images, without compilation, medians of '
        f'{results["rounds"]} rounds; the ratio is that of speeds, above 1 if several at '
        'once are faster:\n\n' + tables.to_markdown(rows)
    )


def scaling_series(
    results: Mapping[str, Any],
) -> tuple[dict[str, dict[int, list[float]]], dict[str, dict[int, list[float]]]]:
    """Picks images/s by batch size, and seconds by examples, of each contender."""
    quarter = results['num_examples'] // 4
    by_batch_size = {
        name: {
            run['batch_size']: [quarter / seconds for seconds in run['seconds']]
            for run in runs
            if run['num_examples'] == quarter
        }
        for name, runs in results['scaling'].items()
    }
    by_examples = {
        name: {
            run['num_examples']: run['seconds']
            for run in sorted(runs, key=lambda run: run['num_examples'])
            if run['batch_size'] == 128
        }
        for name, runs in results['scaling'].items()
    }
    return by_batch_size, by_examples


def all_evaluations(numbers: Mapping[str, Any]) -> list[float]:
    """Picks the seconds of a contender's evaluations, of all rounds."""
    return [seconds for row in numbers['evaluation_seconds'] for seconds in row]


def _evaluation_of_each_round(numbers: Mapping[str, Any]) -> list[float]:
    return [statistics.median(row) for row in numbers['evaluation_seconds']]


def _compare(
    part: Mapping[str, Any], name: str, values: Callable[[Any], Sequence[float]]
) -> str:
    if OURS not in part:
        return '–'
    return f'{median_ratio(values(part[OURS]), values(part[name])):.2f}'


def mean_time(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Averages the seconds, if the runs reached the accuracy on average."""
    if statistics.mean(run['test_accuracy'] for run in runs) < TARGET_ACCURACY:
        return None
    return statistics.mean(run['seconds'] for run in runs)


def _decimals(value: float) -> int:
    return 1 if value >= 10 else 2 if value >= 1 else 3


def seconds_to_text(value: float) -> str:
    """Writes seconds, with more decimals where they are few."""
    return f'{value:.{_decimals(value)}f}'


def _median_and_range(values: Sequence[float]) -> str:
    median = statistics.median(values)
    n = _decimals(median)
    return f'{median:.{n}f} ({min(values):.{n}f}–{max(values):.{n}f})'
