"""An ablation whose runs are trained by workers that share a workdir."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags

from mnist_flax.ablation import ablation, report
from mnist_flax.ablation.report import RECIPE, Row
from mnist_flax.checkpointing import workdirs
from mnist_flax.cluster import agreements, working
from mnist_flax.cluster.shared_workdirs import FINISHED, SharedWorkdir
from mnist_flax.cluster.working import Program
from mnist_flax.common import worker
from mnist_flax.common.constructors import digest_sources
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.worker import Worker
from mnist_flax.training.results import RunResult
from mnist_flax.training.settings import to_tree

_ROWS = 'rows.csv'  # of a group


def run_flags(
    values: flags.FlagValues,
    config: ml_collections.ConfigDict,
    workdir: str,
    num_seeds: int,
    names: Sequence[str],
) -> str:
    """Does what the flags of `cli.define_workers` say, and returns the table, if any."""
    if values.launched:
        agreements.find(workdir)
    if values.gather:
        return gather(config, workdir, num_seeds, names, values.unfinished)
    this = worker.read(values.worker, values.num_workers)
    return ablate_share(config, workdir, num_seeds, names, this)


def ablate_share(
    config: ml_collections.ConfigDict,
    workdir: str,
    num_seeds: int,
    names: Sequence[str],
    worker: Worker,
) -> str:
    """Trains groups of runs that no other worker trains, until none is left.

    Args:
      config: Such as that of ``configs/ablation.py``.
      workdir: The folder that all workers share.
      num_seeds: Runs of each variant.
      names: The variants to train beside the recipe; all if empty.
      worker: Which one this is.

    Returns:
      The contents of ``ablation.md`` if this one wrote the report; otherwise nothing.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: As in `ablate`; or the workdir is not one for these workers.
    """
    programs = _plan(config, num_seeds, names)
    shared = _join(programs, workdir, num_seeds)
    if not working.work(shared, programs, worker, _save, show=False):
        return ''
    with agreements.lock(shared.folder):
        if shared.is_reported('ablation.md'):
            return ''
        return _gather(programs, shared)


def gather(
    config: ml_collections.ConfigDict,
    workdir: str,
    num_seeds: int,
    names: Sequence[str],
    only_finished: bool = False,
) -> str:
    """Writes the report of an ablation that workers have trained; nothing is trained.

    Args:
      config: As that of the workers.
      workdir: The folder that they share.
      num_seeds: As that of the workers.
      names: Likewise.
      only_finished: Whether to report the groups that are finished, though others are not.

    Returns:
      The contents of ``ablation.md``.

    Raises:
      UserError: Some groups are not finished, or none of the recipe.
    """
    shared = agreements.find(workdir)
    programs = _plan(config, num_seeds, names)
    agreements.require_same(shared, _shared_settings(programs, num_seeds))
    with agreements.lock(shared.folder):
        return _gather(programs, shared, only_finished)


def make(
    config: ml_collections.ConfigDict, workdir: str, num_seeds: int, names: Sequence[str]
) -> SharedWorkdir:
    """Makes the workdir that workers will share, or checks that it is one for them.

    Args:
      config: Such as that of ``configs/ablation.py``.
      workdir: The folder.
      num_seeds: Runs of each variant.
      names: The variants to train beside the recipe; all if empty.

    Raises:
      UserError: The config, the data or the workdir is not usable.
    """
    return _join(_plan(config, num_seeds, names), workdir, num_seeds)


def _plan(
    config: ml_collections.ConfigDict, num_seeds: int, names: Sequence[str]
) -> list[Program]:
    configs = ablation.make_configs(config)
    wanted = ablation.choose_variants(configs, names)
    plans = ablation.make_plans(configs, wanted, num_seeds)
    return [Program(name, plan, to_tree(configs[name])) for name, plan in plans.items()]


def _join(programs: Sequence[Program], workdir: str, num_seeds: int) -> SharedWorkdir:
    groups = working.name_groups(programs, 'config.recipe.runs_at_once')
    return agreements.join(workdir, _shared_settings(programs, num_seeds), groups)


def _shared_settings(programs: Sequence[Program], num_seeds: int) -> dict[str, Any]:
    functions = [of for program in programs for of in program.plan.recipe.functions]
    settings = {program.prefix: program.settings for program in programs}
    others = {'--seeds': num_seeds, 'source': digest_sources(functions)}
    return json.loads(json.dumps({**settings, **others}))  # as it will be read


def _save(
    program: Program,
    folder: pathlib.Path,
    results: list[RunResult],
    seconds: dict[str, float],
) -> None:
    rows = [ablation.to_row(program.prefix, program.plan, of) for of in results]
    workdirs.write(folder, {_ROWS: report.to_csv(rows).encode()})
    accuracies = ', '.join(f'seed {row.seed} {row.validation_accuracy:.2%}' for row in rows)
    print(f'{program.prefix}: held-out accuracy {accuracies}', flush=True)


def _gather(
    programs: Sequence[Program], shared: SharedWorkdir, only_finished: bool = False
) -> str:
    rows: list[Row] = []
    names = shared.require_finished(only_finished)
    assigned = working.assign(shared, programs)
    for name in names:
        rows += _read(shared.folder / FINISHED / name / _ROWS, *assigned[name])
    require(
        any(row.variant == RECIPE for row in rows),
        f'--gather: no run of the recipe in {shared.folder} is finished yet, with '
        'which variants could be compared',
    )
    trees = {program.prefix: program.settings for program in programs}
    ablation.write_results(shared.folder, trees, rows)
    environment = shared.read_environment(names)
    recipe = programs[0].plan
    table = ablation.write_report(recipe, [*trees], rows, environment, shared.folder)
    shared.note_report(names)
    return table


def _read(path: pathlib.Path, program: Program, runs: range) -> list[Row]:
    try:
        rows = report.from_csv(path.read_text(), str(path))
    except (OSError, ValueError) as error:
        raise UserError(f'--workdir: cannot read {path} ({error})') from error
    expected = [(program.prefix, program.plan.runs[i].seed) for i in runs]
    require(
        [(row.variant, row.seed) for row in rows] == expected,
        f'--workdir: {path} does not have the runs that its folder names; restore it from '
        'a copy, or use another folder',
    )
    return rows
