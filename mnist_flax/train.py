"""The story of the runs of a config: plan, training, evaluation, report."""

import dataclasses
import time
from typing import Any

import jax
import ml_collections

from mnist_flax import models, reports
from mnist_flax.checks import UserError
from mnist_flax.results import RunResult
from mnist_flax.settings import Plan, make_plan
from mnist_flax.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Result:
    """What the runs leave in memory; the same numbers are in their workdir."""

    runs: list[RunResult]
    metrics: dict[str, Any]  # the contents of metrics.json


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> Result:
    """Trains and tests the networks of a config and writes the report.

    Args:
      config: The settings, such as those of ``configs/default.py``.
      workdir: Folder for the report; it is made if need be, and files of an earlier run
        are replaced when this one has finished.

    Returns:
      The final networks and numbers.

    Raises:
      UserError: The config, the data or the workdir is not usable, or training diverged.
    """
    start = time.perf_counter()
    plan = make_plan(config)
    # Of several hosts one reports; all compute the same numbers.
    reporting = jax.process_index() == 0
    environment = reports.environment(plan.mesh)
    if reporting:
        output_dir = reports.prepare_workdir(workdir)
        _print_summary(environment['device'], plan)
    trainer = Trainer(plan)
    results = [result for side_by_side in trainer.train() for result in side_by_side]
    if all(result.diverged for result in results):
        raise UserError(_explain_divergence(results[0]))
    numbers = {
        **reports.measure(plan, results),
        'compile_seconds': trainer.compile_seconds,
        'train_seconds': trainer.train_seconds,
        **environment,
    }
    if reporting:
        figures = reports.render_figures(plan.dataset, results)
        numbers['total_seconds'] = time.perf_counter() - start
        written = reports.write_report(
            output_dir, config, plan.dataset, results, numbers, figures
        )
        print(
            f'{reports.conclude(numbers)}; {numbers["total_seconds"]:.0f} s, '
            f'{numbers["train_seconds"]:.0f} s of them training\n'
            f'written to {output_dir}: {", ".join(written)}',
            flush=True,
        )
    return Result(results, numbers)


def _print_summary(device: str, plan: Plan) -> None:
    dataset = plan.dataset
    sizes = ', '.join(
        f'{len(getattr(dataset, role).labels):,} {role}'
        for role in ('train', 'validation', 'test')
    )
    print(models.summarize(plan.recipe.model))
    print(f'device: {device}\ndata: {dataset.full_name}, {sizes} images', flush=True)


def _explain_divergence(result: RunResult) -> str:
    return (
        f'training diverged in epoch {result.diverged}: found a loss that is not finite; '
        'a config.optimizer.learning_rate below '
        f'{result.plan.hyperparameters["learning_rate"]} may help'
    )
