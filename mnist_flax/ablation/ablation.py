"""An ablation: trains variants of a recipe, and compares them with it."""

import contextlib
import json
import pathlib
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import ml_collections

from mnist_flax.ablation import report, variants
from mnist_flax.ablation.report import RECIPE, Row
from mnist_flax.checkpointing import earlier_runs, workdirs
from mnist_flax.common import tables
from mnist_flax.common.errors import UserError, require
from mnist_flax.reporting import figures, reports
from mnist_flax.training.plan import Plan
from mnist_flax.training.results import RunResult, count_parameters
from mnist_flax.training.snapshots import SnapshotStore
from mnist_flax.training.trainer import Trainer

_RESULTS, _CONFIGS = 'results.csv', 'configs.json'


def ablate(
    config: ml_collections.ConfigDict,
    workdir: str,
    num_seeds: int,
    names: Sequence[str] = (),
) -> str:
    """Trains each variant with the seeds 0, 1, ... and compares it with the recipe.

    Runs that an earlier call has trained are read from the workdir, not trained again, and
    those that it had begun are resumed.

    Args:
      config: Such as that of ``configs/ablation.py``.
      workdir: Folder for the results.
      num_seeds: Runs of each variant.
      names: The variants to train beside the recipe; all if empty.

    Returns:
      The contents of ``ablation.md``.

    Raises:
      UserError: The config or the workdir is not usable, or the workdir holds runs of
        another config; or a variant cannot be trained, after the others have been.
    """
    configs = variants.make_configs(config)
    wanted = variants.choose_variants(configs, names)
    with workdirs.open_folder(workdir) as path, workdirs.lock(path):
        earlier_runs.require_unshared(path)
        return _ablate(configs, path, num_seeds, wanted)


def _ablate(
    configs: dict[str, ml_collections.ConfigDict],
    path: pathlib.Path,
    num_seeds: int,
    names: Sequence[str],
) -> str:
    rows, known_trees = _read(path)
    seeds = range(num_seeds)
    # All are checked before the first is trained.
    every = variants.make_plans(configs, names, num_seeds)
    trees = {
        name: variants.describe(variant, every[RECIPE].dataset)
        for name, variant in configs.items()
        if name in names or name in known_trees
    }
    _check_same(path, trees, known_trees)
    done = {(row.variant, row.seed) for row in rows}
    plans = {}
    for name, plan in every.items():
        # The plan's devices are those for all seeds, so that a run does not depend on which
        # runs are left.
        left = [planned for planned in plan.runs if (name, planned.seed) not in done]
        if left:
            plans[name] = plan._replace(runs=left)
    progress = _Progress(
        sum(name in names and seed in seeds for name, seed in done),
        sum(len(plan.runs) for plan in plans.values()),
    )
    failed: dict[str, str] = {}
    for name, plan in plans.items():
        known_trees[name] = trees[name]
        snapshots = path / workdirs.CHECKPOINTS / name
        store = SnapshotStore(snapshots, plan, trees[name])
        try:
            for group in Trainer(plan, store, show=False).train():
                rows += [to_row(name, plan, result) for result in group]
                write_results(path, known_trees, rows)
                progress.report(rows[-len(group) :])
        except UserError as error:  # which says nothing of the other variants
            workdirs.check_lock(path)
            failed[name] = str(error)
            print(f'warning: {name} fails: {error}', file=sys.stderr, flush=True)
        else:
            shutil.rmtree(snapshots, ignore_errors=True)
    # With variants that an earlier call has trained: p-values are adjusted for all.
    kept_rows = [row for row in rows if row.seed in seeds]
    has_recipe = any(row.variant == RECIPE for row in kept_rows)
    table = ''
    if has_recipe:
        table = write_report(every[RECIPE], [*configs], kept_rows, path)
    require(
        not failed,
        f'config.variants: {", ".join(failed)} cannot be trained (see the warnings); what '
        f'could is in {workdirs.show(path)}; the same command tries again',
    )
    with contextlib.suppress(OSError):
        (path / workdirs.CHECKPOINTS).rmdir()
    return table


def write_results(path: pathlib.Path, trees: dict[str, Any], rows: Sequence[Row]) -> None:
    """Writes the runs that there are into a workdir, and the configs of their variants."""
    # The configs first: a crash between the two then leaves no runs without one.
    contents = {
        _CONFIGS: tables.to_json(trees).encode(),
        _RESULTS: report.to_csv(rows).encode(),
    }
    workdirs.write(path, contents)


def write_report(
    recipe: Plan,
    names: Sequence[str],
    rows: Sequence[Row],
    path: pathlib.Path,
) -> str:
    """Writes the table and the figure of an ablation.

    Args:
      recipe: The plan of the recipe.
      names: The variants, the recipe first.
      rows: The runs there are.
      path: The workdir.

    Returns:
      The table.

    Raises:
      UserError: They cannot be written.
    """
    found = {row.variant for row in rows}
    comparisons = report.compare(rows, [name for name in names if name in found])
    dataset, num_epochs = recipe.dataset, recipe.settings.num_epochs
    epochs = f'{num_epochs} epoch{"s" if num_epochs > 1 else ""}'
    table = (
        f'{report.to_markdown(comparisons)}\n'
        f'{len(dataset.train.labels):,} training images, {epochs}, '
        f'{len(dataset.validation.labels):,} images held out; '
        f'{report.list_environments(rows)}\n\n'
        f'{report.EXPLANATION}\n'
    )
    title = f'{dataset.full_name}, {epochs}: the recipe with one change'
    plot = report.plot(comparisons, title)
    files = {'ablation.md': table.encode(), 'ablation.png': figures.to_png(plot)}
    workdirs.write(path, files)
    return table


def _read(path: pathlib.Path) -> tuple[list[Row], dict[str, Any]]:
    if not (path / _RESULTS).exists():
        return [], {}
    try:
        rows = report.from_csv((path / _RESULTS).read_text(), str(path / _RESULTS))
        trees = json.loads((path / _CONFIGS).read_text())
        # A crash can have left the config of a variant that has no run yet.
        return rows, {row.variant: trees[row.variant] for row in rows}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'--workdir: cannot read the earlier runs in {path} ({error}); restore '
            f'{_RESULTS} and {_CONFIGS}, or use another folder'
        ) from error


def _check_same(
    path: pathlib.Path, trees: dict[str, Any], known_trees: dict[str, Any]
) -> None:
    differing = [
        f'{name}.{field}'
        for name, known in known_trees.items()
        for field in earlier_runs.find_differences(trees.get(name, known), known)
    ]
    require(
        not differing,
        f'--workdir: {path} holds runs with other settings ({", ".join(differing)}); use '
        'the same settings, or another folder',
    )


def to_row(name: str, plan: Plan, result: RunResult) -> Row:
    """Sums up a run of a variant."""
    numbers = result.numbers(plan.dataset.test.labels)
    return Row(
        variant=name,
        seed=result.plan.seed,
        validation_accuracy=numbers['validation_accuracy'],
        validation_loss=numbers['validation_loss'],
        test_accuracy=numbers['test_accuracy'],
        test_loss=numbers['test_loss'],
        num_parameters=count_parameters(result),
        environment=reports.describe(reports.environment(plan.mesh)),
        seconds=result.train_seconds,
    )


class _Progress:
    """Prints a line for each group of runs, with the time left."""

    def __init__(self, num_found: int, num_left: int):
        self._num_runs, self._num_done = num_left, 0
        self._start = time.perf_counter()
        if num_found:
            print(f'{num_found} runs are done already, {num_left} are left', flush=True)

    def report(self, group: Sequence[Row]) -> None:
        self._num_done += len(group)
        elapsed = time.perf_counter() - self._start
        left = elapsed / self._num_done * (self._num_runs - self._num_done)
        accuracies = ', '.join(
            f'seed {row.seed} {row.validation_accuracy:.2%}' for row in group
        )
        print(
            f'{self._num_done}/{self._num_runs}  {group[0].variant}: held-out accuracy '
            f'{accuracies}; about {left / 60:.0f} min left',
            flush=True,
        )
