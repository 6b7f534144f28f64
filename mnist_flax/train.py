"""The story of the runs of a config: plan, training, evaluation, report."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from mnist_flax import models
from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common.errors import UserError
from mnist_flax.data.datasets import Dataset
from mnist_flax.models import calls
from mnist_flax.reporting import reports
from mnist_flax.training.plan import Plan, describe, make_plans
from mnist_flax.training.results import RunResult
from mnist_flax.training.snapshots import SnapshotStore
from mnist_flax.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Result:
    """What the runs leave in memory; the same numbers are in their workdir."""

    runs: list[RunResult]
    metrics: dict[str, Any]  # the contents of metrics.json


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> Result:
    """Trains and tests the networks of a config and writes the report.

    A run with the same settings that was interrupted in the workdir is resumed, and ends
    as if it had not been.

    Args:
      config: The settings, such as those of ``configs/default.py``.
      workdir: Folder for the report and the checkpoints; it is made if need be, and the
        report of an earlier run is replaced when this one has finished.

    Returns:
      The final networks and numbers.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: The config, the data or the workdir is not usable, or training diverged.
    """
    start = time.perf_counter()
    plans = make_plans(config)
    # Of several hosts one writes; all compute the same numbers.
    if jax.process_index() > 0:
        return _train(config, plans, pathlib.Path(workdir), start)
    folder = workdirs.prepare(workdir)
    with workdirs.lock(folder):
        workdirs.start(folder, describe(config, plans), plans[0].checkpoint.resume)
        return _train(config, plans, folder, start)


def _train(
    config: ml_collections.ConfigDict,
    plans: Sequence[Plan],
    folder: pathlib.Path,
    start: float,
) -> Result:
    writing = jax.process_index() == 0
    environment = reports.environment(plans[0].mesh)
    settings = describe(config, plans)
    if writing:
        _print_summary(environment['device'], plans)
    results: list[RunResult] = []
    seconds = dict.fromkeys(('compile', 'train', 'restored'), 0.0)
    for plan in plans:
        store = SnapshotStore(folder / workdirs.CHECKPOINTS, plan, settings)
        num_runs = sum(len(plan.runs) for plan in plans)
        trainer = Trainer(plan, store, folder, num_runs)
        trained = [result for group in trainer.train() for result in group]
        if len(plans) == 1 and all(result.diverged for result in trained):
            raise UserError(_explain_divergence(trained[-1], store.newest))
        results += trained
        seconds['compile'] += trainer.compile_seconds
        seconds['train'] += trainer.train_seconds
        seconds['restored'] += trainer.restored_seconds
    numbers = {
        **reports.measure(plans[0], results),
        'compile_seconds': seconds['compile'],
        'train_seconds': seconds['train'],
        **environment,
    }
    if writing:
        dataset = plans[0].dataset
        _write_model(folder / workdirs.MODEL, settings, dataset, results)
        figures = reports.render_figures(dataset, results)
        # With those of an earlier process, so that training is a part of them.
        elapsed = time.perf_counter() - start
        numbers['total_seconds'] = seconds['restored'] + elapsed
        written = reports.write_report(folder, settings, dataset, results, numbers, figures)
        print(
            f'{reports.summary_line(numbers)}; {numbers["total_seconds"]:.0f} s, '
            f'{numbers["train_seconds"]:.0f} s of them training\n'
            f'written to {folder}: {", ".join([*written, workdirs.MODEL])}',
            flush=True,
        )
    return Result(results, numbers)


def _write_model(
    path: pathlib.Path,
    settings: dict[str, Any],
    dataset: Dataset,
    results: Sequence[RunResult],
) -> None:
    """Writes the networks alone, with what is needed to use them."""
    variables = jax.tree.map(lambda *of: np.stack(of), *[run.variables for run in results])
    about = {
        'config': settings,
        'dataset': dataset.full_name,
        'class_names': dataset.class_names,
        'runs': [
            {
                'seed': run.plan.seed,
                **run.plan.swept,
                'diverged': run.diverged is not None,
                'changes': run.changes,
            }
            for run in results
        ],
    }
    checkpoints.write(path, traverse_util.flatten_dict(variables, sep='.'), about)


def _print_summary(device: str, plans: Sequence[Plan]) -> None:
    dataset, model = plans[0].dataset, plans[0].recipe.model
    splits = {'train': dataset.train, dataset.validation_name: dataset.validation}
    splits['test'] = dataset.test
    sizes = ', '.join(f'{len(of.labels):,} {name}' for name, of in splits.items())
    print(models.summarize(model, **calls.eval_arguments(model)))
    print(f'device: {device}\ndata: {dataset.full_name}, {sizes} images', flush=True)
    if len(plans) > 1:
        num_runs = sum(len(plan.runs) for plan in plans)
        print(f'sweep: {num_runs} runs of {len(plans)} programs; the first is shown above')


def _explain_divergence(result: RunResult, good: pathlib.Path | None) -> str:
    found = result.diverged
    assert found is not None
    kept = f'the last good checkpoint is {good}' if good else 'no checkpoint came before'
    return (
        f'training diverged in epoch {found.epoch} at step {found.step:,}, where the '
        f'learning rate was {found.learning_rate:.3g}: the loss is not finite; try a lower '
        'config.optimizer.learning_rate, config.schedule.warmup=0.1 or '
        f'config.optimizer.clip_norm=1; {kept}'
    )
