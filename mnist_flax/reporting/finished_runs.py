"""Finished runs side by side: a table, and accuracy against the number of parameters."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common import addresses, intervals, tables
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.intervals import Summary
from mnist_flax.reporting import comparison, figures, reports
from mnist_flax.reporting.style import in_our_style

HELD_OUT, TEST = 'held-out', 'test'
_FILES = ('metrics.json', 'config.json', workdirs.MODEL)


class Finished(NamedTuple):
    """What the report of a workdir says."""

    workdir: str
    num_parameters: int
    num_epochs: int
    measured_on: str  # HELD_OUT or TEST images
    images: str  # which images these are
    sha256: str  # of their data set; empty if it has a list of checksums, or is not noted
    accuracy: Summary  # after the last epoch, of the runs that did not diverge
    num_diverged: int
    ensemble: float | None  # test accuracy, of several runs without held-out images
    minutes: float  # that the command took for all runs
    digest: str  # first digits of the SHA-256 of all networks' weights; – without these
    environment: str  # device and versions


def read(workdir: str) -> Finished:
    """Reads the report of a finished run, or of several seeds.

    Of runs with held-out images the accuracy on these is read, and not that on the test
    set, by which nothing should be chosen.

    Args:
      workdir: Its workdir, which may be in a bucket.

    Raises:
      UserError: There is no finished run, its files are damaged, or it is a sweep.
    """
    normalize = addresses.normalize if addresses.is_bucket(workdir) else os.path.normpath
    workdir = normalize(workdir)
    with workdirs.open_to_read(workdir, *_FILES) as folder:
        path = folder / 'metrics.json'
        require(
            path.is_file(),
            f'WORKDIR: {workdir!r} holds no finished run (there is no {path}); name the '
            'workdirs of runs that have finished',
        )
        try:
            numbers = json.loads(path.read_text())
            require(
                'points' not in numbers,
                f'WORKDIR: {workdir!r} is a sweep, whose runs.md compares what it varied; '
                'train the combination that was chosen by itself to compare it with others',
            )
            config = json.loads((folder / 'config.json').read_text())
            return _read(workdir, numbers, config['dataset'], folder / workdirs.MODEL)
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f'WORKDIR: metrics.json and config.json in {workdir!r} are not the report '
                'of a run; restore them, or leave it out'
            ) from error


def _read(
    workdir: str, numbers: Mapping[str, Any], data: Mapping[str, Any], model: pathlib.Path
) -> Finished:
    is_held_out = numbers['validation'] == 'holdout'
    column, images = 'test_accuracy', data['test_split']
    if is_held_out:
        column = 'validation_accuracy'
        images = f'{data["holdout_size"]} of {data["train_split"]}'
    num_diverged = numbers.get('num_diverged', 0)
    spread = numbers[column]
    if isinstance(spread, float):  # of a single run
        accuracy = intervals.summarize([spread])
    else:
        accuracy = intervals.from_dict(spread, numbers['num_runs'] - num_diverged)
    has_ensemble = accuracy.n > 1 and not is_held_out
    return Finished(
        workdir=workdir,
        num_parameters=int(numbers['num_parameters']),
        num_epochs=int(numbers['num_epochs']),
        measured_on=HELD_OUT if is_held_out else TEST,
        images=f'{numbers["dataset"]}, {images}',
        sha256=str(data.get('sha256', '')),
        accuracy=accuracy,
        num_diverged=num_diverged,
        ensemble=numbers['ensemble']['test_accuracy'] if has_ensemble else None,
        minutes=numbers['total_seconds'] / 60,
        digest=(
            checkpoints.digest(checkpoints.read(model).arrays) if model.is_dir() else '–'
        ),
        environment=reports.describe(numbers),
    )


def check(runs: Sequence[Finished]) -> None:
    """Checks that runs can be compared.

    Raises:
      UserError: They were measured on different images.
    """
    for kind in (HELD_OUT, TEST):
        images = {of.images: of.workdir for of in runs if of.measured_on == kind}
        require(
            len(images) <= 1,
            'WORKDIR: the accuracies are of different images: '
            f'{"; ".join(f"{workdir} of {of}" for of, workdir in images.items())}',
        )
        data = {of.sha256: of for of in runs if of.measured_on == kind and of.sha256}
        require(
            len(data) <= 1,
            'WORKDIR: the accuracies are of different data sets of one name: '
            + '; '.join(
                f'{of.workdir} of {of.images}, {key[:12]}' for key, of in data.items()
            ),
        )


def to_markdown(runs: Sequence[Finished]) -> str:
    """Tabulates runs, those of few parameters first."""
    kinds = [
        kind for kind in (HELD_OUT, TEST) if any(of.measured_on == kind for of in runs)
    ]
    rows = [
        [
            'run', 'parameters', 'epochs', 'n',
            *(f'{kind} accuracy, %' for kind in kinds), '95 % interval of the mean',
            "the ensemble's test accuracy, %", 'minutes', 'weights',
        ]
    ]  # fmt: skip
    names = _name(runs)
    for of in _sort(runs):
        mean, interval = comparison.mean_and_sd(of.accuracy), '–'
        if of.accuracy.n > 1:
            # Student's can reach beyond what an accuracy can be.
            high = min(of.accuracy.high, 1)
            interval = f'{100 * of.accuracy.low:.2f} to {100 * high:.2f}'
        rows.append(
            [
                names[of.workdir],
                f'{of.num_parameters:,}',
                str(of.num_epochs),
                comparison.count(of.accuracy, of.num_diverged),
                *(mean if of.measured_on == kind else '–' for kind in kinds),
                interval,
                '–' if of.ensemble is None else f'{100 * of.ensemble:.2f}',
                f'{of.minutes:.1f}',
                of.digest,
            ]
        )
    images = [f'{of.measured_on} images: {of.images}' for of in _sort(runs)]
    machines: dict[str, list[str]] = {}
    for of in runs:
        machines.setdefault(of.environment, []).append(names[of.workdir])
    made = [
        f'{", ".join(of) + ": " if len(machines) > 1 else ""}{machine}'
        for machine, of in machines.items()
    ]
    return (
        f'{tables.to_markdown(rows)}\n'
        'Accuracies are mean ± standard deviation over n seeds, after the last epoch; '
        f"{'; '.join(dict.fromkeys(images))}. Intervals are Student's: what other seeds "
        'would change. Minutes are those of the command, for all seeds, or of all workers '
        'together. `weights` are the first digits of the SHA-256 of all networks. '
        f'{" ".join(made)}\n'
    )


@in_our_style()
def plot(runs: Sequence[Finished]) -> Figure:
    """Draws the runs' accuracies against their numbers of parameters, with intervals."""
    figure = Figure(figsize=(7, 4.8), layout='constrained')
    axes = figure.subplots()
    names = _name(runs)
    for kind, color in ((HELD_OUT, figures.WRONG), (TEST, figures.RIGHT)):
        of_kind = [of for of in _sort(runs) if of.measured_on == kind]
        if not of_kind:
            continue
        means = [100 * of.accuracy.mean for of in of_kind]
        accuracies = [run.accuracy for run in of_kind]
        bars = [
            (of.mean - of.low, min(of.high, 1) - of.mean) if of.n > 1 else (0, 0)
            for of in accuracies
        ]
        axes.errorbar(
            [of.num_parameters for of in of_kind],
            means,
            100 * np.array(bars).T,
            fmt='o',
            color=color,
            capsize=3,
            label=f'{kind} images, with 95 % intervals of the mean',
        )
        labels = figures.to_labels([names[of.workdir] for of in of_kind])
        for of, mean, label in zip(of_kind, means, labels, strict=True):
            axes.annotate(
                label,
                (of.num_parameters, mean),
                (6, 6),
                textcoords='offset points',
                fontsize='small',
            )
    axes.set(xscale='log', xlabel='parameters', ylabel='accuracy, %')
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.EngFormatter())  # 50 k: numbers would touch
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(x=0.25, y=0.1)  # for the names
    axes.grid(alpha=0.3, which='both')
    # Below, where no run can be under it.
    figure.legend(loc='outside lower center')
    return figure


def _sort(runs: Sequence[Finished]) -> list[Finished]:
    return sorted(runs, key=lambda of: of.num_parameters)


def _name(runs: Sequence[Finished]) -> dict[str, str]:
    """Names workdirs by their last folder, or in full where two would be the same."""
    last = [pathlib.PurePath(of.workdir).name for of in runs]
    return {
        of.workdir: name if last.count(name) == 1 else of.workdir
        for of, name in zip(runs, last, strict=True)
    }
