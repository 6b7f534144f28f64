"""The story of the runs of a config: plan, training, evaluation, report."""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from mnist_flax import models
from mnist_flax.checkpointing import checkpoints, earlier_runs, workdirs
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.switches import in_our_settings
from mnist_flax.data import balance, edges
from mnist_flax.data.datasets import Dataset
from mnist_flax.models import calls
from mnist_flax.reporting import reports
from mnist_flax.training import sweeps
from mnist_flax.training.plan import Plan, complete, describe, make_plans
from mnist_flax.training.progress import TimeLeft
from mnist_flax.training.results import RunResult
from mnist_flax.training.settings import to_tree
from mnist_flax.training.snapshots import SnapshotStore
from mnist_flax.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Result:
    """What the runs leave in memory; the same numbers are in their workdir."""

    runs: list[RunResult]
    metrics: dict[str, Any]  # the contents of metrics.json


@in_our_settings()
def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | None = None, profile: int = 0
) -> Result:
    """Trains and tests the networks of a config and writes the report.

    A run with the same settings that was interrupted in the workdir is resumed, and ends
    as if it had not been.

    Args:
      config: The settings, such as those of ``configs/default.py``.
      workdir: Folder for the report and the checkpoints; it is made if need be, and the
        report of an earlier run is replaced when this one has finished. Nothing is written
        if None.
      profile: The epoch of which to write a profile into the workdir; 0 for none.

    Returns:
      The final networks and numbers.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: The config, the data or the workdir is not usable, or training diverged.
    """
    start = time.perf_counter()
    plans = make_plans(config)
    require(
        profile <= config.num_epochs,
        f'--profile: found {profile}; allowed: 1 to {config.num_epochs}, the epochs',
    )
    settings = describe(config, plans)
    # Of several hosts one writes; all compute the same numbers.
    if workdir is None:
        return _train(plans, settings)
    if jax.process_index() > 0:
        return _train(plans, settings, pathlib.Path(workdir), profile)
    with workdirs.open_folder(workdir) as folder, workdirs.lock(folder):
        earlier_runs.start(folder, settings, plans[0].checkpoint.resume)
        profiles = _list_profiles(folder)
        result = _train(plans, settings, folder, profile)
        # With those of an earlier process, so that training is a part of the total.
        start -= result.metrics.pop('restored_seconds')
        write(config, plans, result, settings, folder, start)
        if profile and _list_profiles(folder) == profiles:
            print(
                f'warning: --profile: epoch {profile} had been trained before, and was not '
                'profiled; use another --workdir',
                file=sys.stderr,
            )
    return result


def _list_profiles(folder: pathlib.Path) -> list[pathlib.Path]:
    return [*folder.glob('profile/plugins/profile/*')]


def _train(
    plans: Sequence[Plan],
    settings: dict[str, Any],
    folder: pathlib.Path | None = None,
    profile: int = 0,
) -> Result:
    environment = reports.environment(plans[0].mesh)
    if jax.process_index() == 0:
        _print_summary(environment['device'], plans)
    results: list[RunResult] = []
    seconds = dict.fromkeys(('compile_seconds', 'train_seconds', 'restored_seconds'), 0.0)
    newest: pathlib.Path | None = None
    time_left = TimeLeft(sum(len(plan.runs) for plan in plans))
    for plan in plans:
        store = None
        if folder is not None:
            store = SnapshotStore(folder / workdirs.CHECKPOINTS, plan, settings)
        trainer = Trainer(plan, store, time_left, profile=profile)
        profile = 0  # one is enough
        results += [result for group in trainer.train(folder) for result in group]
        newest = store.newest if store else None
        for name in seconds:
            seconds[name] += getattr(trainer, name)
    require_finite(results, newest)
    numbers = {**reports.measure(plans[0], results), **seconds, **environment}
    return Result(results, numbers)


def write(
    config: ml_collections.ConfigDict,
    plans: Sequence[Plan],
    result: Result,
    settings: dict[str, Any],
    folder: pathlib.Path,
    start: float,
) -> None:
    """Writes the networks and the report, and says so.

    Args:
      config: The settings.
      plans: What was trained.
      result: The networks and numbers; the total time is added to them.
      settings: The settings as plain values, see `describe`.
      folder: The workdir, which this process has locked.
      start: When the work began, on the clock of `time.perf_counter`.

    Raises:
      UserError: A file cannot be written.
    """
    workdirs.check_lock(folder)
    dataset, numbers = plans[0].dataset, result.metrics
    _write_model(folder / workdirs.MODEL, config, dataset, result.runs)
    figures = reports.render_figures(dataset, result.runs)
    numbers['total_seconds'] = time.perf_counter() - start
    written = reports.write_report(folder, settings, dataset, result.runs, numbers, figures)
    print(
        f'{reports.summary_line(numbers)}; {numbers["total_seconds"]:.0f} s, '
        f'{numbers["train_seconds"]:.0f} s of them training\n'
        f'written to {workdirs.show(folder)}: {", ".join([*written, workdirs.MODEL])}',
        flush=True,
    )


def _write_model(
    path: pathlib.Path,
    config: ml_collections.ConfigDict,
    dataset: Dataset,
    results: Sequence[RunResult],
) -> None:
    """Writes the networks alone, with what is needed to use them.

    Of a sweep these are the networks of the combination that was chosen.
    """
    chosen = reports.choose(results)
    config = sweeps.override(config, chosen[0].plan.swept, 'config.sweep')
    config = complete(config, len(dataset.class_names))
    config.sweep = ml_collections.ConfigDict()
    variables = jax.tree.map(lambda *of: np.stack(of), *[run.variables for run in chosen])
    about = {
        'config': to_tree(config),
        'dataset': dataset.full_name,
        'image_shape': dataset.test.images.shape[1:],
        'class_names': dataset.class_names,
        'edges': edges.find_usual(dataset.train.images),
        **({'turned_upright': True} if dataset.turned else {}),
        **({'framing': dataset.framing} if dataset.framing else {}),
        'runs': [
            {
                'seed': run.plan.seed,
                'diverged': run.diverged is not None,
                'changes': run.changes,
            }
            for run in chosen
        ],
    }
    checkpoints.write(path, traverse_util.flatten_dict(variables, sep='.'), about)


def _print_summary(device: str, plans: Sequence[Plan]) -> None:
    dataset, recipe = plans[0].dataset, plans[0].recipe
    model = recipe.model
    sizes = ', '.join(f'{len(of.labels):,} {name}' for name, of in dataset.sets.items())
    print(models.summarize(model, recipe.image_shape, **calls.eval_arguments(model)))
    name = f'{dataset.full_name}{" (set upright)" if dataset.turned else ""}'
    print(f'device: {device}\ndata: {name}, {sizes} images', flush=True)
    if counts := balance.describe(dataset.train.labels, dataset.class_names):
        print(f'train images of each class: {counts}', flush=True)
    for overlap in dataset.overlaps:
        print(f'warning: config.dataset: {overlap}', file=sys.stderr, flush=True)
    if len(plans) > 1:
        num_runs = sum(len(plan.runs) for plan in plans)
        print(f'sweep: {num_runs} runs of {len(plans)} programs; the first is shown above')


def require_finite(results: Sequence[RunResult], good: pathlib.Path | None) -> None:
    """Checks that not all runs have diverged.

    Args:
      results: The runs.
      good: The last checkpoint before that, if any, for the message.

    Raises:
      UserError: They have.
    """
    if not all(result.diverged for result in results):
        return
    found = results[-1].diverged
    assert found is not None
    kept = f'the last good checkpoint is {good}' if good else 'no checkpoint came before'
    raise UserError(
        f'training diverged in epoch {found.epoch} at step {found.step:,}, where the '
        f'learning rate was {found.learning_rate:.3g}: the loss is not finite; try a lower '
        'config.optimizer.learning_rate, config.schedule.warmup=0.1 or '
        f'config.optimizer.clip_norm=1; {kept}'
    )
