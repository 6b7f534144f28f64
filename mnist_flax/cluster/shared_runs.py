"""The runs of a config, trained by workers that share a workdir, and their report."""

import json
import pathlib
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags

from mnist_flax.checkpointing import workdirs
from mnist_flax.cluster import agreements, group_results, shared_workdirs, working
from mnist_flax.cluster.shared_workdirs import FINISHED, SharedWorkdir
from mnist_flax.cluster.working import Program
from mnist_flax.common import worker
from mnist_flax.common.constructors import digest_sources
from mnist_flax.common.switches import in_our_settings
from mnist_flax.common.worker import Worker
from mnist_flax.reporting import reports
from mnist_flax.train import Result, require_finite, write
from mnist_flax.training.plan import describe, make_plans
from mnist_flax.training.records import FILE
from mnist_flax.training.results import RunResult

# What is in a group's folder beside the records of its runs.
_OURS = re.compile(
    rf'\..*|\d+(\.damaged)?|{group_results.FOLDER}|{re.escape(FILE)}|'
    + '|'.join(map(re.escape, shared_workdirs.NOTES))
)


def run_flags(values: flags.FlagValues, workdir: str) -> None:
    """Does what the flags of `cli.define_workers` say."""
    if values.launched:
        agreements.find(workdir)
    if values.gather:
        gather(values.config, workdir, values.unfinished)
    else:
        this = worker.read(values.worker, values.num_workers)
        train_share(values.config, workdir, this)


@in_our_settings()
def train_share(
    config: ml_collections.ConfigDict, workdir: str, worker: Worker
) -> Result | None:
    """Trains groups of runs that no other worker trains, until none is left.

    A group that was begun is resumed. Whoever finishes the last one writes the report.

    Args:
      config: The settings, the same for all.
      workdir: The folder that all workers share.
      worker: Which one this is.

    Returns:
      The result, if this one wrote the report.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: As in `train_and_evaluate`; or the workdir is not one for these workers.
    """
    programs = _plan(config)
    shared = _join(programs, workdir)
    if not working.work(shared, programs, worker, _save, show=True):
        return None
    with agreements.lock(shared.folder):
        if shared.is_reported('metrics.json'):
            return None
        return _gather(config, programs, shared)


@in_our_settings()
def gather(
    config: ml_collections.ConfigDict, workdir: str, only_finished: bool = False
) -> Result:
    """Writes the report of runs that workers have trained; nothing is trained.

    Args:
      config: The settings, as those of the workers.
      workdir: The folder that they share.
      only_finished: Whether to report the groups that are finished, though others are not.

    Returns:
      The result.

    Raises:
      UserError: Some groups are not finished, or none is.
    """
    shared = agreements.find(workdir)
    programs = _plan(config)
    agreements.require_same(shared, _shared_settings(programs))
    with agreements.lock(shared.folder):
        return _gather(config, programs, shared, only_finished)


@in_our_settings()
def make(config: ml_collections.ConfigDict, workdir: str) -> SharedWorkdir:
    """Makes the workdir that workers will share, or checks that it is one for them.

    Args:
      config: The settings.
      workdir: The folder.

    Raises:
      UserError: The config, the data or the workdir is not usable.
    """
    return _join(_plan(config), workdir)


def _plan(config: ml_collections.ConfigDict) -> list[Program]:
    plans = make_plans(config)
    settings = describe(config, plans)
    return [Program('', plan, settings) for plan in plans]


def _join(programs: Sequence[Program], workdir: str) -> SharedWorkdir:
    names = working.name_groups(programs, 'config.runs_at_once')
    return agreements.join(workdir, _shared_settings(programs), names)


def _shared_settings(programs: Sequence[Program]) -> dict[str, Any]:
    functions = [of for program in programs for of in program.plan.recipe.functions]
    shared = {'config': programs[0].settings, 'source': digest_sources(functions)}
    return json.loads(json.dumps(shared))  # as it will be read


def _save(
    program: Program,
    folder: pathlib.Path,
    results: list[RunResult],
    seconds: dict[str, float],
) -> None:
    group_results.save(folder, results, seconds)


def _gather(
    config: ml_collections.ConfigDict,
    programs: Sequence[Program],
    shared: SharedWorkdir,
    only_finished: bool = False,
) -> Result:
    start = time.perf_counter()
    plans = [program.plan for program in programs]
    names = shared.require_finished(only_finished)
    results: list[RunResult] = []
    seconds = dict.fromkeys(('compile_seconds', 'train_seconds'), 0.0)
    for name, (program, runs) in working.assign(shared, programs).items():
        if name not in names:
            continue
        folder = shared.folder / FINISHED / name
        of_group, of_seconds = group_results.read(folder, program.plan, runs)
        results += of_group
        for key in seconds:
            seconds[key] += of_seconds[key]
    require_finite(results, None)
    numbers = {
        **reports.measure(plans[0], results),
        **seconds,
        **shared.read_environment(names),
    }
    _collect(shared.folder, [shared.folder / FINISHED / name for name in names])
    result = Result(results, numbers)
    start -= sum(seconds.values())
    write(config, plans, result, programs[0].settings, shared.folder, start)
    shared.note_report(names)
    return result


def _collect(folder: pathlib.Path, groups: Sequence[pathlib.Path]) -> None:
    """Copies what was recorded of each group, as a single process would have left it.

    Raises:
      UserError: It cannot be written.
    """
    lines = []
    try:
        for group in groups:
            if (group / FILE).exists():
                lines.append((group / FILE).read_bytes())
            for path in group.iterdir():  # figures, and what writers have written
                if _OURS.fullmatch(path.name):
                    continue
                if path.is_dir():
                    shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
                else:
                    shutil.copy2(path, folder)
    except OSError as error:
        raise workdirs.not_writable('--workdir', str(folder), error) from error
    workdirs.write(folder, {FILE: b''.join(lines)})
