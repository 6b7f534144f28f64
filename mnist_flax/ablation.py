"""The story of an ablation: variants of a recipe, their runs, and the comparison."""

import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import ml_collections

from mnist_flax import ablation_report, figures, reports, tables
from mnist_flax.ablation_report import RECIPE, Cell
from mnist_flax.checks import UserError, require
from mnist_flax.results import RunResult, count_parameters
from mnist_flax.settings import Plan, make_plan
from mnist_flax.train import Trainer

_CELLS, _CONFIGS = 'results.csv', 'configs.json'


def ablate(
    config: ml_collections.ConfigDict,
    workdir: str,
    num_seeds: int,
    names: Sequence[str] = (),
) -> str:
    """Trains each variant with the seeds 0, 1, ... and compares it with the recipe.

    What an earlier call has trained is read from the workdir and not trained again.

    Args:
      config: Such as that of ``configs/ablation.py``.
      workdir: Folder for the results.
      num_seeds: Runs of each variant.
      names: The variants that are wanted beside the recipe; all if empty.

    Returns:
      The contents of ``ablation.md``.

    Raises:
      UserError: The config or the workdir is not usable, or the workdir holds runs of
        another config.
    """
    configs = make_configs(config, names)
    path = reports.prepare_workdir(workdir)
    trees = {name: json.loads(variant.to_json()) for name, variant in configs.items()}
    cells, known_trees = _read(path)
    _check_same(path, trees, known_trees)
    trees = {**known_trees, **trees}
    done = {(cell.variant, cell.seed) for cell in cells}
    missing = {
        name: [seed for seed in range(num_seeds) if (name, seed) not in done]
        for name in configs
    }
    # All are checked before the first is trained; the data are the same for all.
    recipe = make_plan(configs[RECIPE], seeds=[0])
    plans = {
        name: make_plan(variant, recipe.dataset, missing[name])
        for name, variant in configs.items()
        if missing[name]
    }
    progress = _Progress(len(done), sum(map(len, missing.values())))
    for name, plan in plans.items():
        for group in Trainer(plan, show=False).train():
            cells += [_to_cell(name, plan, result) for result in group]
            kept = {
                _CELLS: ablation_report.to_csv(cells).encode(),
                _CONFIGS: tables.to_json(trees).encode(),
            }
            reports.write_files(path, kept)
            progress.report(cells[-len(group) :])

    wanted = [cell for cell in cells if cell.seed < num_seeds]
    comparisons = ablation_report.compare(wanted, list(configs))
    num_epochs = configs[RECIPE].num_epochs
    title = f'{recipe.dataset.full_name}, {num_epochs} epochs: the recipe with one change'
    table = (
        ablation_report.to_markdown(comparisons)
        + f'\n{len(recipe.dataset.train.labels):,} training images, {num_epochs} epochs, '
        + f'{len(recipe.dataset.validation.labels):,} images held out. '
        + reports.describe(reports.environment(recipe.mesh))
        + '\n'
    )
    plot = ablation_report.plot(comparisons, title)
    files = {'ablation.md': table.encode(), 'ablation.png': figures.to_png(plot)}
    reports.write_files(path, files)
    return table


def make_configs(
    config: ml_collections.ConfigDict, names: Sequence[str] | None = None
) -> dict[str, ml_collections.ConfigDict]:
    """Makes the config of each variant.

    Args:
      config: ``recipe``, a config like ``configs/default.py``, and ``variants``, of which
        each holds the fields of the recipe that it changes.
      names: The variants that are wanted; all if None. The recipe is always one.

    Returns:
      Configs by variant, that of the recipe first.

    Raises:
      UserError: A variant is unknown, or changes a field that the recipe has not.
    """
    for part in ('recipe', 'variants'):
        require(
            isinstance(config.get(part), ml_collections.ConfigDict),
            f'config.{part} is missing; allowed: a ConfigDict, see configs/ablation.py',
        )
    require(
        config.recipe.get('runs') == 1 and not any(config.recipe.get('sweep', {}).values()),
        'config.recipe: found runs or a sweep; allowed: runs = 1 and no sweep, as '
        '--seeds says how many runs there are',
    )
    known = [RECIPE, *(name for name in config.variants if name != RECIPE)]
    for name in names or []:
        require(
            name in known, f'--variants: found {name!r}; allowed: {", ".join(known[1:])}'
        )
    configs = {}
    for name in known:
        if names and name not in (RECIPE, *names):
            continue
        variant = config.recipe.copy_and_resolve_references().lock()
        if name != RECIPE:
            try:
                variant.update(config.variants[name])
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f'config.variants.{name}: found {config.variants[name].to_dict()} '
                    f'({str(error).splitlines()[0]}); allowed: fields of config.recipe'
                ) from error
        configs[name] = variant
    return configs


def _read(path: pathlib.Path) -> tuple[list[Cell], dict[str, Any]]:
    if not (path / _CELLS).exists():
        return [], {}
    try:
        cells = ablation_report.from_csv((path / _CELLS).read_text(), str(path / _CELLS))
        return cells, json.loads((path / _CONFIGS).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f'--workdir: cannot read the earlier runs in {path} ({error}); allowed: a '
            'folder whose files are as this program wrote them, or a new one'
        ) from error


def _check_same(
    path: pathlib.Path, trees: dict[str, Any], known_trees: dict[str, Any]
) -> None:
    known = {name: known_trees[name] for name in trees if name in known_trees}
    differing = _find_differences({name: trees[name] for name in known}, known)
    require(
        not differing,
        f'--workdir: found in {path} runs of a config that differs in '
        f'{", ".join(differing)}; allowed: the same settings, or another folder',
    )


def _find_differences(ours: Any, theirs: Any, path: str = '') -> list[str]:
    """Lists the paths at which two trees of plain values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            found
            for key in sorted({*ours, *theirs})
            for found in _find_differences(
                ours.get(key), theirs.get(key), f'{path}.{key}' if path else key
            )
        ]
    return [] if ours == theirs else [path]


def _to_cell(name: str, plan: Plan, result: RunResult) -> Cell:
    numbers = result.numbers(plan.dataset.test.labels)
    return Cell(
        variant=name,
        seed=result.plan.seed,
        validation_accuracy=numbers['validation_accuracy'],
        validation_loss=numbers['validation_loss'],
        test_accuracy=numbers['test_accuracy'],
        test_loss=numbers['test_loss'],
        num_parameters=count_parameters(result),
        seconds=result.train_seconds,
    )


class _Progress:
    """Prints a line for runs that have ended, with the time left."""

    def __init__(self, num_found: int, num_missing: int):
        self._num_missing, self._num_done = num_missing, 0
        self._start = time.perf_counter()
        if num_found:
            print(f'{num_found} runs were found, {num_missing} are missing', flush=True)

    def report(self, group: Sequence[Cell]) -> None:
        self._num_done += len(group)
        elapsed = time.perf_counter() - self._start
        left = elapsed / self._num_done * (self._num_missing - self._num_done)
        accuracies = ', '.join(
            f'seed {cell.seed} {cell.validation_accuracy:.2%}' for cell in group
        )
        print(
            f'{self._num_done}/{self._num_missing}  {group[0].variant}: held-out accuracy '
            f'{accuracies}; about {left / 60:.0f} min left',
            flush=True,
        )
