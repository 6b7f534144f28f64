"""The story of a run: config, data, state, epochs, evaluation, report."""

import dataclasses
import math
import time
from typing import Any, Literal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, UInt8

from mnist_flax import checks, data, devices, metrics, models, optimizers, reports, run
from mnist_flax.checks import require
from mnist_flax.devices import on_mesh
from mnist_flax.metrics import EpochMetrics
from mnist_flax.progress import Progress
from mnist_flax.shards import Examples


@dataclasses.dataclass(frozen=True)
class Settings:
    """The fields of a config; ``dataset``, ``model`` and ``optimizer`` are subtrees."""

    seed: int
    num_epochs: int
    batch_size: int
    num_devices: int
    matmul_precision: Literal['float32', 'tensorfloat32']
    dataset: ml_collections.ConfigDict
    model: ml_collections.ConfigDict
    optimizer: ml_collections.ConfigDict

    def __post_init__(self) -> None:
        require(
            0 <= self.seed < 2**32,
            f'config.seed: found {self.seed}; allowed: 0 to {2**32 - 1}',
        )
        require(
            self.num_epochs >= 1,
            f'config.num_epochs: found {self.num_epochs}; allowed: 1 or more',
        )
        require(
            self.batch_size >= 1,
            f'config.batch_size: found {self.batch_size}; allowed: 1 or more',
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves in memory; the same numbers are in its workdir."""

    state: run.TrainState
    history: list[EpochMetrics]  # the rows of history.csv
    metrics: dict[str, Any]  # the contents of metrics.json


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> Result:
    """Trains and tests one network and writes the report.

    Args:
      config: The settings, such as those of ``configs/default.py``.
      workdir: Folder for the report; it is made if need be, and files of an earlier run
        are replaced when this one has finished.

    Returns:
      The final state and numbers.

    Raises:
      UserError: The config, the data or the workdir is not usable, or training diverged.
    """
    start = time.perf_counter()
    settings = checks.construct(Settings, config, 'config')
    mesh = devices.make_mesh(settings.num_devices, settings.batch_size)
    dataset = checks.construct(data.load, settings.dataset, 'config.dataset')
    model = checks.construct(models.create_model, settings.model, 'config.model')
    _check_fit(settings, model, dataset)
    num_steps = run.steps_per_epoch(len(dataset.train.labels), settings.batch_size)
    optimizer = checks.construct(
        optimizers.create_optimizer,
        settings.optimizer,
        'config.optimizer',
        num_steps=settings.num_epochs * num_steps,
    )
    # Of several hosts one reports; all compute the same numbers.
    reporting = jax.process_index() == 0
    environment = reports.environment(mesh)
    if reporting:
        output_dir = reports.prepare_workdir(workdir)
        _print_summary(environment['device'], model, dataset)

    with jax.default_matmul_precision(settings.matmul_precision):
        state = run.create_train_state(mesh, model, optimizer, settings.seed)
        images, labels = devices.replicate(mesh, dataset.train)
        compile_start = time.perf_counter()
        run.compile_epoch(mesh, state, images, labels, settings.batch_size)
        compile_seconds = time.perf_counter() - compile_start
        if reporting:
            print(f'compiled in {compile_seconds:.1f} s', flush=True)
        state, history, train_seconds = _train(
            settings, mesh, state, images, labels, dataset.validation
        )
        test_images = devices.replicate(mesh, dataset.test.images)
        logits = np.asarray(on_mesh(run.predict_logits, mesh)(state, test_images))

    test = metrics.totals(jnp.asarray(logits), jnp.asarray(dataset.test.labels))
    test_loss, test_accuracy = test.means()
    numbers = {
        'test_accuracy': test_accuracy,
        'test_accuracy_95_percent_interval': metrics.wilson_interval(
            int(test.correct), int(test.examples)
        ),
        'test_loss': test_loss,
        'validation_loss': history[-1].validation_loss,
        'validation_accuracy': history[-1].validation_accuracy,
        'train_loss': history[-1].train_loss,
        'train_accuracy': history[-1].train_accuracy,
        'num_parameters': sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        'num_epochs': settings.num_epochs,
        'batch_size': settings.batch_size,
        'seed': settings.seed,
        'dataset': dataset.full_name,
        'validation': settings.dataset.validation,
        'compile_seconds': compile_seconds,
        'train_seconds': train_seconds,
        **environment,
    }
    if reporting:
        figures = reports.render_figures(dataset, history, logits)
        numbers['total_seconds'] = time.perf_counter() - start
        written = reports.write_report(output_dir, config, history, numbers, figures)
        print(
            f'test accuracy {test_accuracy:.2%}, test loss {test_loss:.4f}; '
            f'{numbers["total_seconds"]:.0f} s, {train_seconds:.0f} s of them training\n'
            f'written to {output_dir}: {", ".join(written)}',
            flush=True,
        )
    return Result(state, history, numbers)


def _check_fit(settings: Settings, model: models.CNN, dataset: data.Dataset) -> None:
    num_classes = len(dataset.class_names)
    require(
        model.num_classes == num_classes,
        f'config.model.num_classes: found {model.num_classes}; allowed: {num_classes}, the '
        f'number of classes of {dataset.full_name}',
    )
    num_examples = len(dataset.train.labels)
    require(
        settings.batch_size <= num_examples,
        f'config.batch_size: found {settings.batch_size}; allowed: 1 to {num_examples}, '
        'the number of training examples',
    )


def _print_summary(device: str, model: models.CNN, dataset: data.Dataset) -> None:
    sizes = ', '.join(
        f'{len(getattr(dataset, role).labels):,} {role}'
        for role in ('train', 'validation', 'test')
    )
    print(models.summarize(model))
    print(f'device: {device}\ndata: {dataset.full_name}, {sizes} images', flush=True)


def _train(
    settings: Settings,
    mesh: Mesh,
    state: run.TrainState,
    images: UInt8[Array, 'examples 28 28 1'],
    labels: Int[Array, 'examples'],
    validation: Examples,
) -> tuple[run.TrainState, list[EpochMetrics], float]:
    """Trains for all epochs; returns the state, the history and the seconds it took."""
    validation_images, validation_labels = devices.replicate(mesh, validation)
    history: list[EpochMetrics] = []
    train_seconds = 0.0
    num_steps = run.steps_per_epoch(len(labels), settings.batch_size)
    with Progress(settings.num_epochs, num_steps) as progress:
        for epoch in range(1, settings.num_epochs + 1):
            start = time.perf_counter()
            state, totals = run.train_epoch(
                mesh, state, images, labels, settings.batch_size, progress.advance
            )
            train_means = totals.means()
            seconds = time.perf_counter() - start
            train_seconds += seconds
            held_out = run.evaluate(mesh, state, validation_images, validation_labels)
            row = EpochMetrics(epoch, *train_means, *held_out.means())
            # A step too far shows in the validation loss, if it was the epoch's last one.
            require(
                math.isfinite(row.train_loss) and math.isfinite(row.validation_loss),
                f'training diverged in epoch {epoch}: found a loss that is not finite; a '
                'config.optimizer.learning_rate below '
                f'{settings.optimizer.learning_rate} may help',
            )
            history.append(row)
            progress.report(row, seconds)
    return state, history, train_seconds
