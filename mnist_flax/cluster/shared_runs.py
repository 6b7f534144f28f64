"""The runs of a config as what workers train: their results, and the report."""

import pathlib
import re
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import ml_collections

from mnist_flax.checkpointing import workdirs
from mnist_flax.cluster import group_results, shared_workdirs
from mnist_flax.cluster.jobs import Finished, Job
from mnist_flax.cluster.working import Program
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


class Runs(Job):
    """The runs of a config; a sweep's too."""

    field = 'config.runs_at_once'
    report = 'metrics.json'
    is_shown = True

    def __init__(self, config: ml_collections.ConfigDict):
        self.config = config

    def plan(self) -> list[Program]:
        """Makes a program of each plan."""
        plans = make_plans(self.config)
        settings = describe(self.config, plans)
        return [Program('', plan, settings) for plan in plans]

    def describe(self, programs: Sequence[Program]) -> dict[str, Any]:
        """Returns the config, with what has been decided for it."""
        return {'config': programs[0].settings}

    def save(
        self,
        program: Program,
        folder: pathlib.Path,
        results: list[RunResult],
        seconds: dict[str, float],
    ) -> None:
        """Writes all that a report needs of the runs, with their networks."""
        group_results.save(folder, results, seconds)

    def write_report(
        self,
        folder: pathlib.Path,
        programs: Sequence[Program],
        groups: Sequence[Finished],
        environment: dict[str, Any],
    ) -> Result:
        """Writes the report that a single process would have written, but for times."""
        start = time.perf_counter()
        plans = [program.plan for program in programs]
        results: list[RunResult] = []
        seconds = dict.fromkeys(('compile_seconds', 'train_seconds'), 0.0)
        for group in groups:
            found = group_results.read(group.folder, group.program.plan, group.runs)
            results += found[0]
            for name in seconds:
                seconds[name] += found[1][name]
        require_finite(results, None)
        numbers = {**reports.measure(plans[0], results), **seconds, **environment}
        _collect(folder, [group.folder for group in groups])
        result = Result(results, numbers)
        start -= sum(seconds.values())
        write(self.config, plans, result, programs[0].settings, folder, start)
        return result


def _collect(folder: pathlib.Path, groups: Sequence[pathlib.Path]) -> None:
    """Copies what was recorded of each group, as a single process would have left it.

    Raises:
      UserError: It cannot be written.
    """
    lines: list[bytes] = []
    found: dict[pathlib.Path, list[pathlib.Path]] = {}
    try:
        for group in groups:
            if (group / FILE).exists():
                lines.append((group / FILE).read_bytes())
            for path in group.rglob('*'):  # figures, and what writers have written
                name = path.relative_to(group)
                if path.is_file() and not _OURS.fullmatch(name.parts[0]):
                    found.setdefault(name, []).append(path)
        for name, (path, *others) in found.items():
            if not others:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, folder / name)
    except OSError as error:
        raise workdirs.not_writable('--workdir', str(folder), error) from error
    if several := [str(name) for name, paths in found.items() if len(paths) > 1]:
        print(
            f'warning: a writer has left {", ".join(several[:3])} for each group; these '
            f'files are in {shared_workdirs.FINISHED}/, and not in the report',
            file=sys.stderr,
            flush=True,
        )
    workdirs.write(folder, {FILE: b''.join(lines)})
