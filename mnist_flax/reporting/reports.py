"""Numbers to the files of a report: metrics, history, config and figures."""

import collections
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

import mnist_flax
from mnist_flax.checkpointing import workdirs
from mnist_flax.common import intervals, tables
from mnist_flax.data.datasets import Dataset
from mnist_flax.training import metrics
from mnist_flax.training.devices import count_cores
from mnist_flax.training.metrics import EpochMetrics
from mnist_flax.training.plan import Plan, to_tree
from mnist_flax.training.results import RunResult, count_parameters, summarize_population
from mnist_flax.training.sweeps import SWEPT

_PACKAGES = ('jax', 'flax', 'optax', 'tensorflow-datasets', 'numpy')


def environment(mesh: Mesh) -> dict[str, Any]:
    """Describes where a run takes place: the devices and the versions."""
    device = mesh.devices.flat[0].device_kind
    return {
        'device': f'{device}, {count_cores()} cores' if device == 'cpu' else device,
        'num_devices': mesh.size,
        'versions': {
            'mnist_flax': mnist_flax.__version__,
            'python': platform.python_version(),
            **{package: metadata.version(package) for package in _PACKAGES},
        },
    }


def describe(environment: Mapping[str, Any]) -> str:
    """Says in one line what `environment` found."""
    versions = ', '.join(f'{name} {of}' for name, of in environment['versions'].items())
    return f'{environment["device"]}; {versions}.'


def measure(plan: Plan, results: Sequence[RunResult]) -> dict[str, Any]:
    """Measures the runs of a plan, for ``metrics.json``.

    Of a single run these are its numbers. Of several they are means and spreads: under
    their names, or for each combination of a sweep in the list ``points``.
    """
    settings, labels = plan.settings, plan.dataset.test.labels
    numbers: dict[str, Any]
    if len(results) == 1:
        numbers = _drop_repeats(results[0].numbers(labels), plan.dataset)
        correct = round(numbers['test_accuracy'] * len(labels))
        interval = intervals.wilson_interval(correct, len(labels))
        numbers = {
            'test_accuracy': numbers.pop('test_accuracy'),
            'test_accuracy_95_percent_interval': interval,
            **numbers,
            'seed': results[0].plan.seed,
            **results[0].plan.swept,
        }
    else:
        points = [
            _drop_repeats(point, plan.dataset)
            for point in summarize_population(results, labels)
        ]
        numbers = points[0] if len(points) == 1 else {'points': points}
        numbers['seeds'] = sorted({result.plan.seed for result in results})
    changes = list(dict.fromkeys(change for run in results for change in run.changes))
    return {
        **numbers,
        **({'changed_settings': changes} if changes else {}),
        'num_parameters': count_parameters(results[0]),
        'num_epochs': settings.num_epochs,
        'batch_size': settings.batch_size,
        'dataset': plan.dataset.full_name,
        'validation': settings.dataset.validation,
    }


def _drop_repeats(numbers: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Leaves out what is called validation where a run is validated on the test set."""
    if dataset.validation_name != 'test':
        return numbers
    return {name: of for name, of in numbers.items() if not name.startswith('validation')}


def summary_line(numbers: dict[str, Any]) -> str:
    """Says in a few words what the runs came to, from the contents of ``metrics.json``."""
    if 'points' in numbers:
        return f'test accuracy of {len(numbers["points"])} combinations: see runs.md'
    accuracy, loss = numbers['test_accuracy'], numbers['test_loss']
    if isinstance(accuracy, float):
        return f'test accuracy {accuracy:.2%}, test loss {loss:.4f}'
    text = f'test accuracy {accuracy["mean"]:.2%}'
    if 'sd' in accuracy:
        text = (
            f'test accuracy {100 * accuracy["mean"]:.2f} ± {100 * accuracy["sd"]:.2f} % '
            f'(mean ± sd), ensemble {numbers["ensemble"]["test_accuracy"]:.2%}'
        )
    if numbers['num_diverged']:
        text += f'; {numbers["num_diverged"]} of {numbers["num_runs"]} runs diverged'
    return text


def render_figures(dataset: Dataset, results: Sequence[RunResult]) -> dict[str, bytes]:
    """Draws the figures of a report.

    Args:
      dataset: Names the data and holds the test set.
      results: The runs; those that diverged are left out, and of several the first gives
        the predictions.

    Returns:
      PNG files by name.
    """
    # Imported here because Matplotlib takes 0.5 s that training need not wait for.
    from mnist_flax.reporting import figures

    name, classes = dataset.full_name, dataset.class_names
    finite = [result for result in results if result.diverged is None]
    shown = finite[0]
    counts = metrics.confusion_matrix(
        dataset.test.labels, shown.logits.argmax(axis=-1), len(classes)
    )
    validation = dataset.validation_name
    histories = collections.defaultdict(list)
    for result in finite:
        histories[_name_point(result)].append(result.history)
    of_seed = name
    if len(results) > 1:
        of_seed = ', '.join(
            filter(None, [name, _name_point(shown), f'seed {shown.plan.seed}'])
        )
    plots = {
        'accuracy_plot.png': figures.accuracy_plot(
            histories, f'{name}: accuracy on training and {validation} images', validation
        ),
        'sample_predictions.png': figures.sample_predictions(
            dataset.test, np.asarray(jax.nn.softmax(shown.logits)), classes, of_seed
        ),
        'confusion_matrix.png': figures.confusion_matrix(
            counts, classes, f'{of_seed}: {counts.sum():,} test images'
        ),
    }
    return {file_name: figures.to_png(plot) for file_name, plot in plots.items()}


def _name_point(result: RunResult) -> str:
    return ', '.join(f'{key} {value:g}' for key, value in result.plan.swept.items())


def write_report(
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    dataset: Dataset,
    results: Sequence[RunResult],
    numbers: dict[str, Any],
    figures: dict[str, bytes],
) -> list[str]:
    """Writes the files of finished runs; none appears before all are complete.

    Args:
      workdir: Where to.
      config: The settings.
      dataset: Holds the test set.
      results: The runs.
      numbers: The contents of ``metrics.json``.
      figures: PNG files by name.

    Returns:
      The names of the files.

    Raises:
      UserError: A file cannot be written.
    """
    files = {
        'history.csv': _history_csv(results, dataset.validation_name),
        'config.json': tables.to_json(to_tree(config)),
        'metrics.json': tables.to_json(numbers),
        'metrics.txt': tables.to_text(numbers),
    }
    if len(results) > 1:
        rows = [_run_row(result, dataset) for result in results]
        files['runs.csv'] = tables.to_csv(
            list(rows[0]), [list(row.values()) for row in rows]
        )
        files['runs.md'] = runs_table(rows, numbers)
    contents = {name: text.encode() for name, text in files.items()} | figures
    workdirs.write(workdir, contents)
    # Those of an earlier population would belong to nothing.
    for name in {'runs.csv', 'runs.md'} - contents.keys():
        (workdir / name).unlink(missing_ok=True)
    return sorted(contents)


def runs_table(rows: Sequence[dict[str, Any]], numbers: dict[str, Any]) -> str:
    """Tabulates the runs of a population as Markdown.

    Args:
      rows: The rows of ``runs.csv``.
      numbers: The contents of ``metrics.json``.

    Returns:
      A row a run, and for each combination of a sweep the means and standard deviations
      over seeds, the confidence interval of the means, and the ensemble.
    """
    points = numbers.get('points', [numbers])
    swept = [name for name in SWEPT if name in rows[0]]
    columns = [  # name, heading, factor, decimals
        ('test_accuracy', 'test accuracy, %', 100, 2),
        ('test_loss', 'test loss', 1, 4),
        ('test_calibration_error', 'calibration error, %', 100, 2),
    ]
    if numbers['validation'] == 'holdout':
        columns.insert(0, ('validation_accuracy', 'held-out accuracy, %', 100, 2))
    lines = [[*swept, 'seed', *(heading for _, heading, *_ in columns), 'training, s']]

    def add(point: dict[str, Any], label: str, cells: list[str], seconds: str) -> None:
        lines.append([*(f'{point[name]:g}' for name in swept), label, *cells, seconds])

    for point in points:
        members = [row for row in rows if all(row[key] == point[key] for key in swept)]
        for row in members:
            is_finite = row['diverged_in_epoch'] is None
            cells = [
                f'{k * row[name]:.{n}f}' if is_finite else '–' for name, _, k, n in columns
            ]
            seed = str(row['seed'])
            if not is_finite:
                seed += f' (diverged in epoch {row["diverged_in_epoch"]})'
            add(point, seed, cells, f'{row["train_seconds"]:.0f}')
        if 'sd' not in point.get('test_accuracy', {}):
            continue
        spreads = [(point[name], k, n) for name, _, k, n in columns]
        cells = [f'{k * of["mean"]:.{n}f} ± {k * of["sd"]:.{n}f}' for of, k, n in spreads]
        seconds = [row['train_seconds'] for row in members]
        add(point, 'mean ± sd', cells, f'{np.mean(seconds):.0f}')
        cells = [
            '{:.{n}f} to {:.{n}f}'.format(
                *(k * end for end in of['mean_95_percent_interval']), n=n
            )
            for of, k, n in spreads
        ]
        add(point, '95 % interval of the mean', cells, '')
        ensemble = point['ensemble']
        cells = [
            f'{k * ensemble[name]:.{n}f}' if name in ensemble else '–'
            for name, _, k, n in columns
        ]
        add(point, f'ensemble of {ensemble["size"]}', cells, '')
    where = describe(numbers)
    return f'{tables.to_markdown(lines)}\n{len(rows)} runs; {where}\n'


def _history_csv(results: Sequence[RunResult], validation: str) -> str:
    columns = list(EpochMetrics._fields)
    if validation == 'test':
        columns = [name.replace('validation', 'test') for name in columns]
    if len(results) == 1:
        return tables.to_csv(columns, results[0].history)
    swept = list(results[0].plan.swept)
    return tables.to_csv(
        [*swept, 'seed', *columns],
        [
            [*result.plan.swept.values(), result.plan.seed, *row]
            for result in results
            for row in result.history
        ],
    )


def _run_row(result: RunResult, dataset: Dataset) -> dict[str, Any]:
    return {
        **result.plan.swept,
        'seed': result.plan.seed,
        **_drop_repeats(result.numbers(dataset.test.labels), dataset),
        'train_seconds': result.train_seconds,
        'diverged_in_epoch': result.diverged and result.diverged.epoch,
    }
