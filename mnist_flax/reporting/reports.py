"""Numbers to the files of a report: metrics, history, config and figures."""

import math
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import mnist_flax
from mnist_flax.checkpointing import workdirs
from mnist_flax.common import intervals, tables
from mnist_flax.data.datasets import Dataset
from mnist_flax.reporting import metrics_text, run_tables, selection
from mnist_flax.reporting.selection import Point, Ranked
from mnist_flax.training import metrics
from mnist_flax.training.devices import count_cores
from mnist_flax.training.plan import Plan
from mnist_flax.training.results import RunResult, count_parameters, summarize_seeds

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
    """Measures the runs of a config, for ``metrics.json``.

    Of a single run these are its numbers, of several seeds means and spreads. Of a sweep
    they are its combinations, ranked by held-out accuracy, in the list ``points``; the test
    set is looked at for the one that was chosen so alone, in ``chosen``.

    Args:
      plan: The first of the plans.
      results: Of all runs.
    """
    settings, labels = plan.settings, plan.dataset.test.labels
    numbers: dict[str, Any]
    if len(results) == 1:
        numbers = results[0].numbers(labels)
        correct = round(numbers['test_accuracy'] * len(labels))
        interval = intervals.wilson_interval(correct, len(labels))
        numbers = {
            'test_accuracy': numbers.pop('test_accuracy'),
            'test_accuracy_95_percent_interval': interval,
            **numbers,
            'seed': results[0].plan.seed,
        }
    elif ranked := rank(results):
        chosen = summarize_seeds(choose(results), labels)
        numbers = {
            'chosen': {'values': dict(ranked[0].values), **chosen},
            'points': selection.to_json(ranked),
        }
    else:
        numbers = summarize_seeds(results, labels)
    if len(results) > 1:
        numbers['seeds'] = sorted({result.plan.seed for result in results})
    overlapping = plan.dataset.overlaps
    changes = list(dict.fromkeys(change for run in results for change in run.changes))
    shared = {
        'num_parameters': count_parameters(results[0]),
        'num_epochs': settings.num_epochs,
        'batch_size': settings.batch_size,
    }
    swept = {path.split('.')[0] for path in results[0].plan.swept}
    if 'model' in swept:
        shared['num_parameters'] = count_parameters(choose(results)[0])
    return {
        **numbers,
        **({'changed_settings': changes} if changes else {}),
        **({'overlaps': overlapping} if overlapping else {}),
        **{name: of for name, of in shared.items() if name not in swept},
        'dataset': plan.dataset.full_name,
        'validation': settings.dataset.validation,
    }


def rank(results: Sequence[RunResult]) -> list[Ranked]:
    """Ranks the combinations of a sweep by held-out accuracy; none without a sweep."""
    values: dict[str, dict[str, Any]] = {}
    accuracies: dict[str, dict[int, float]] = {}
    for result in results:
        key, finite = repr(result.plan.swept), result.diverged is None
        accuracy = result.rows[-1].get('validation_accuracy', math.nan)
        values[key] = result.plan.swept
        accuracies.setdefault(key, {})[result.plan.seed] = accuracy if finite else math.nan
    if len(values) == 1:
        return []
    return selection.rank(Point(values[key], of) for key, of in accuracies.items())


def choose(results: Sequence[RunResult]) -> list[RunResult]:
    """Picks the runs of the combination that is best on held-out images; all without."""
    ranked = rank(results)
    return [of for of in results if not ranked or of.plan.swept == ranked[0].values]


def summary_line(numbers: dict[str, Any]) -> str:
    """Says in a few words what the runs came to, from the contents of ``metrics.json``.

    Of runs with held-out images it is the accuracy on those, so that nobody chooses
    settings by the test set. Of a sweep it is a table of the combinations and a line about
    the one that was chosen.
    """
    if 'points' not in numbers:
        if numbers['validation'] == 'holdout':
            return run_tables.describe_held_out(numbers)
        return describe_test(numbers)
    ranked = selection.from_json(numbers['points'])
    chosen = selection.describe_choice(ranked)
    return f'{selection.to_text(ranked)}{chosen}\n{describe_test(numbers)}'


def describe_test(numbers: dict[str, Any]) -> str:
    """Says in a few words what the runs, or the chosen ones of a sweep, scored on test."""
    return run_tables.describe_test(numbers.get('chosen', numbers))


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
    from mnist_flax.reporting import figures, sweep_figures

    name, classes = dataset.full_name, dataset.class_names
    ranked = rank(results)
    finite = [result for result in choose(results) if result.diverged is None]
    if not finite:
        return {}
    shown = finite[0]
    counts = metrics.confusion_matrix(
        dataset.test.labels, shown.logits.argmax(axis=-1), len(classes)
    )
    validation = dataset.validation_name
    of_seed = name if len(results) == 1 else f'{name}, seed {shown.plan.seed}'
    plots = {
        'accuracy_plot.png': figures.accuracy_plot(
            _name_histories(results, ranked),
            f'{name}: accuracy on training and {validation} images',
            validation,
        ),
        'sample_predictions.png': figures.sample_predictions(
            dataset.test, np.asarray(jax.nn.softmax(shown.logits)), classes, of_seed
        ),
        'confusion_matrix.png': figures.confusion_matrix(
            counts, classes, f'{of_seed}: {counts.sum():,} test images'
        ),
    }
    if ranked:
        plots['sweep.png'] = sweep_figures.plot(ranked, f'{name}: held-out accuracy')
    return {file_name: figures.to_png(plot) for file_name, plot in plots.items()}


def _name_histories(
    results: Sequence[RunResult], ranked: Sequence[Ranked]
) -> dict[str, list[list[metrics.Row]]]:
    """Lists histories by combination: of a sweep the ten best, each with its name."""
    if not ranked:
        return {'': [result.rows for result in results if result.diverged is None]}
    best = ranked[:10]
    names = selection.name_points([of.values for of in best])
    named = {
        name: [
            result.rows
            for result in results
            if result.plan.swept == of.values and result.diverged is None
        ]
        for name, of in zip(names, best, strict=True)
    }
    return {name: histories for name, histories in named.items() if histories}


def write_report(
    workdir: pathlib.Path,
    settings: dict[str, Any],
    dataset: Dataset,
    results: Sequence[RunResult],
    numbers: dict[str, Any],
    figures: dict[str, bytes],
) -> list[str]:
    """Writes the files of finished runs; none appears before all are complete.

    Args:
      workdir: Where to.
      settings: The config, as plain values.
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
        'history.csv': run_tables.history_csv(results),
        'config.json': tables.to_json(settings),
        'metrics.json': tables.to_json(numbers),
        'metrics.txt': metrics_text.to_text(numbers),
    }
    if len(results) > 1:
        chosen = {result.plan.position for result in choose(results)}
        rows = [
            run_tables.run_row(result, dataset, result.plan.position in chosen)
            for result in results
        ]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        files['runs.csv'] = tables.to_csv(
            columns, [[row.get(name) for name in columns] for row in rows]
        )
        files['runs.md'] = run_tables.to_markdown(rows, numbers, describe(numbers))
    contents = {name: text.encode() for name, text in files.items()} | figures
    workdirs.write(workdir, contents)
    # Those of an earlier population would belong to nothing.
    for name in {'runs.csv', 'runs.md', 'sweep.png'} - contents.keys():
        (workdir / name).unlink(missing_ok=True)
    return sorted(contents)
