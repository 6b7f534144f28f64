"""Numbers to the files of a report: metrics, history, config and figures."""

import csv
import io
import json
import pathlib
import platform
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

import mnist_flax
from mnist_flax import metrics
from mnist_flax.checks import UserError
from mnist_flax.data import Dataset
from mnist_flax.devices import count_cores
from mnist_flax.files import write_atomically
from mnist_flax.metrics import EpochMetrics

_PACKAGES = ('jax', 'flax', 'optax', 'tensorflow-datasets', 'numpy')


def prepare_workdir(workdir: str) -> pathlib.Path:
    """Makes the folder and sees that files can be written to it.

    Raises:
      UserError: They cannot.
    """
    path = pathlib.Path(workdir).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _not_writable(workdir, error) from error
    return path


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


def render_figures(
    dataset: Dataset,
    history: Sequence[EpochMetrics],
    logits: Float[np.ndarray, 'examples classes'],
) -> dict[str, bytes]:
    """Draws the figures of a report.

    Args:
      dataset: Names the data and holds the test set.
      history: The numbers of each epoch.
      logits: The network's answers to the test images.

    Returns:
      PNG files by name.
    """
    # Imported here because Matplotlib takes 0.5 s that training need not wait for.
    from mnist_flax import figures

    name, classes = dataset.full_name, dataset.class_names
    counts = metrics.confusion_matrix(
        dataset.test.labels, logits.argmax(axis=-1), len(classes)
    )
    on_test = dataset.validation is dataset.test
    validated = 'the test set' if on_test else 'held-out training images'
    plots = {
        'accuracy_plot.png': figures.accuracy_plot(
            history, f'{name}: accuracy, validated on {validated}'
        ),
        'sample_predictions.png': figures.sample_predictions(
            dataset.test, np.asarray(jax.nn.softmax(logits)), classes, name
        ),
        'confusion_matrix.png': figures.confusion_matrix(
            counts, classes, f'{name}: {counts.sum():,} test images'
        ),
    }
    return {file_name: figures.to_png(plot) for file_name, plot in plots.items()}


def write_report(
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    history: Sequence[EpochMetrics],
    numbers: dict[str, Any],
    figures: dict[str, bytes],
) -> list[str]:
    """Writes the files of a finished run; none appears before all are complete.

    Args:
      workdir: Where to.
      config: The settings of the run.
      history: The numbers of each epoch.
      numbers: The contents of ``metrics.json``.
      figures: PNG files by name.

    Returns:
      The names of the files.

    Raises:
      UserError: A file cannot be written.
    """
    files = {
        **figures,
        'history.csv': _to_csv(history).encode(),
        'config.json': _to_json(json.loads(config.to_json())).encode(),
        'metrics.json': _to_json(numbers).encode(),
        'metrics.txt': _to_text(numbers).encode(),
    }
    write_files(workdir, files)
    return sorted(files)


def write_files(workdir: pathlib.Path, files: Mapping[str, bytes]) -> None:
    """Writes files by name into the folder; none appears before all are complete.

    Raises:
      UserError: A file cannot be written.
    """
    try:
        write_atomically({workdir / name: content for name, content in files.items()})
    except OSError as error:
        raise _not_writable(str(workdir), error) from error


def seed_table(results: Sequence[dict[str, Any]]) -> str:
    """Tabulates runs that differ in their seeds only, as Markdown.

    Args:
      results: The contents of ``metrics.json`` of each run, two or more.

    Returns:
      A row a seed, and one with means and standard deviations (of the sample, n - 1).
    """
    columns = [  # heading, values, decimals
        ('test accuracy, %', [100 * run['test_accuracy'] for run in results], 2),
        ('test loss', [run['test_loss'] for run in results], 4),
        ('training, s', [run['train_seconds'] for run in results], 0),
    ]
    if results[0]['validation'] == 'holdout':
        values = [100 * run['validation_accuracy'] for run in results]
        columns.insert(0, ('held-out accuracy, %', values, 2))
    rows = [
        ['seed', *(heading for heading, _, _ in columns)],
        ['---'] * (len(columns) + 1),
        *(
            [str(run['seed']), *(f'{values[i]:.{n}f}' for _, values, n in columns)]
            for i, run in enumerate(results)
        ),
        [
            'mean ± sd',
            *(
                f'{statistics.mean(values):.{n}f} ± {statistics.stdev(values):.{n}f}'
                for _, values, n in columns
            ),
        ],
    ]
    lines = [f'| {" | ".join(cells)} |' for cells in rows]
    versions = ', '.join(
        f'{name} {version}' for name, version in results[0]['versions'].items()
    )
    lines += ['', f'{len(results)} runs; {results[0]["device"]}; {versions}.']
    return '\n'.join(lines) + '\n'


def _to_csv(rows: Sequence[EpochMetrics]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(EpochMetrics._fields)
    writer.writerows(rows)
    return buffer.getvalue()


def _to_json(tree: Any) -> str:
    return json.dumps(tree, indent=2, allow_nan=False) + '\n'


def _to_text(numbers: dict[str, Any]) -> str:
    lines = []
    for name, value in numbers.items():
        if isinstance(value, dict):
            lines += [f'{name}.{key}: {item}' for key, item in value.items()]
        elif isinstance(value, float):
            lines.append(f'{name}: {value:.6g}')
        elif isinstance(value, tuple):
            lines.append(f'{name}: {" to ".join(f"{item:.6g}" for item in value)}')
        else:
            lines.append(f'{name}: {value}')
    return '\n'.join(lines) + '\n'


def _not_writable(workdir: str, error: OSError) -> UserError:
    return UserError(
        f'--workdir: cannot write to {workdir!r} ({error.strerror}); allowed: a folder '
        'where files can be made'
    )
