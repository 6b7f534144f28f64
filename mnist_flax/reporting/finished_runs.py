"""Finished runs side by side: a table, and accuracy against the number of parameters."""

import csv
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common import addresses, intervals, tables
from mnist_flax.common.errors import UserError, require
from mnist_flax.reporting import comparison, figures, reports
from mnist_flax.reporting.style import in_our_style

HELD_OUT, TEST = 'held-out', 'test'
_FILES = ('metrics.json', 'runs.csv', workdirs.MODEL)


class Finished(NamedTuple):
    """What the report of a workdir says."""

    name: str  # of the workdir
    num_parameters: int
    num_epochs: int | None  # None if a sweep varied it
    measured_on: str  # HELD_OUT or TEST images
    accuracies: list[float]  # of each run that did not diverge, after its last epoch
    ensemble: float | None  # test accuracy, of several runs without held-out images
    minutes: float  # that the command took for all runs
    digest: str  # first digits of the SHA-256 of all networks' weights; – without these
    environment: str  # device and versions


def read(workdir: str) -> Finished:
    """Reads the report of a finished run or of several seeds.

    Of runs with held-out images the accuracy on these is read, and not that on the test
    set, by which nothing should be chosen. Of a sweep it is the combination chosen.

    Args:
      workdir: Its workdir, which may be in a bucket.

    Raises:
      UserError: There is no finished run, or its files are damaged.
    """
    if not addresses.is_bucket(workdir):
        addresses.require_local(workdir, 'WORKDIR')
    with workdirs.open_to_read(workdir, *_FILES) as folder:
        path = folder / 'metrics.json'
        require(
            path.is_file(),
            f'WORKDIR: {workdir!r} holds no finished run (there is no {path}); name the '
            'workdirs of runs that have finished',
        )
        try:
            return _read(workdir, folder, json.loads(path.read_text()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f'WORKDIR: {path} is not the report of a run; restore it, or leave it out'
            ) from error


def _read(workdir: str, folder: pathlib.Path, numbers: Mapping) -> Finished:
    is_held_out = numbers['validation'] == 'holdout'
    column = 'validation_accuracy' if is_held_out else 'test_accuracy'
    chosen = numbers.get('chosen', numbers)
    if isinstance(chosen[column], float):
        accuracies = [chosen[column]]
    else:
        with (folder / 'runs.csv').open() as file:
            rows = [row for row in csv.DictReader(file) if not row['diverged_in_epoch']]
        values = chosen.get('values', {})
        accuracies = [
            float(row[column])
            for row in rows
            if all(row[path] == str(value) for path, value in values.items())
        ]
        if len(accuracies) != chosen['num_runs'] - chosen['num_diverged']:
            raise ValueError('runs.csv is of other runs')
    several = len(accuracies) > 1 and not is_held_out
    return Finished(
        pathlib.PurePath(workdir).name or workdir,
        int(numbers['num_parameters']),
        numbers.get('num_epochs'),
        HELD_OUT if is_held_out else TEST,
        accuracies,
        chosen['ensemble']['test_accuracy'] if several else None,
        numbers['total_seconds'] / 60,
        _digest(folder / workdirs.MODEL),
        reports.describe(numbers),
    )


def _digest(path: pathlib.Path) -> str:
    if not path.is_dir():
        return '–'
    checked = hashlib.sha256()
    for name, array in sorted(checkpoints.read(path).arrays.items()):
        checked.update(f'{name} {array.dtype} {array.shape} '.encode())
        checked.update(array.tobytes())
    return checked.hexdigest()[:12]


def to_markdown(runs: Sequence[Finished]) -> str:
    """Tabulates runs, those of few parameters first."""
    kinds = [
        kind for kind in (HELD_OUT, TEST) if any(of.measured_on == kind for of in runs)
    ]
    rows = [
        [
            'run', 'parameters', 'epochs', 'n',
            *(f'{kind} accuracy, %' for kind in kinds), '95 % interval of the mean',
            'ensemble, %', 'minutes', 'weights',
        ]
    ]  # fmt: skip
    for of in sorted(runs, key=lambda of: of.num_parameters):
        summary = intervals.summarize(of.accuracies)
        mean = comparison.mean_and_sd(summary)
        interval = '–'
        if summary.n > 1:
            interval = f'{100 * summary.low:.2f} to {100 * summary.high:.2f}'
        rows.append(
            [
                of.name,
                f'{of.num_parameters:,}',
                str(of.num_epochs or '–'),
                str(len(of.accuracies)),
                *(mean if of.measured_on == kind else '–' for kind in kinds),
                interval,
                '–' if of.ensemble is None else f'{100 * of.ensemble:.2f}',
                f'{of.minutes:.0f}',
                of.digest,
            ]
        )
    return (
        f'{tables.to_markdown(rows)}\n'
        'Accuracies are mean ± standard deviation over n seeds, after the last epoch. '
        "Intervals are Student's: what other seeds would change. Minutes are those of all "
        'seeds together. `weights` are the first digits of the SHA-256 of all networks. '
        f'{" ".join(dict.fromkeys(of.environment for of in runs))}\n'
    )


@in_our_style()
def plot(runs: Sequence[Finished]) -> Figure:
    """Draws the runs' accuracies against their numbers of parameters, with intervals."""
    figure = Figure(figsize=(7, 4.8), layout='constrained')
    axes = figure.subplots()
    for kind, color in ((HELD_OUT, figures.WRONG), (TEST, figures.RIGHT)):
        of_kind = sorted(
            (of for of in runs if of.measured_on == kind), key=lambda of: of.num_parameters
        )
        if not of_kind:
            continue
        sizes = [of.num_parameters for of in of_kind]
        summaries = [intervals.summarize(of.accuracies) for of in of_kind]
        errors = np.array([1 - of.mean for of in summaries])
        bars = [
            (0.0, 0.0) if of.n < 2 else (of.high - of.mean, of.mean - of.low)
            for of in summaries
        ]
        axes.errorbar(
            sizes, 100 * errors, 100 * np.array(bars).T,
            fmt='o', color=color, capsize=3, label=f'{kind} images, mean of the seeds',
        )  # fmt: skip
        for of, size in zip(of_kind, sizes, strict=True):
            each = 100 * (1 - np.array(of.accuracies))
            axes.plot([size] * len(each), each, '.', color=color, alpha=0.3, zorder=1)
            name = figures.to_labels([of.name])[0]
            axes.annotate(
                name, (size, each.mean()), (6, 6), textcoords='offset points',
                fontsize='small',
            )  # fmt: skip
    # By the errors: from 99.0 to 99.5 % is as far as from 98 to 99 %.
    axes.set(xscale='log', yscale='log', xlabel='parameters', ylabel='accuracy, %')
    axes.invert_yaxis()
    plain = FuncFormatter(lambda error, _: f'{100 - error:.6g}')
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain)
    axes.tick_params('y', which='both', labelsize='small')
    axes.margins(x=0.2)  # for the names
    axes.grid(alpha=0.3, which='both')
    axes.legend(loc='lower right')
    return figure
