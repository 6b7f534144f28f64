"""What workers train together, and what they do with it: train, gather, make its folder."""

import abc
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
from absl import flags

from mnist_flax.cluster import agreements, status, working
from mnist_flax.cluster.shared_workdirs import FINISHED, SharedWorkdir
from mnist_flax.cluster.working import Program
from mnist_flax.common import worker
from mnist_flax.common.constructors import digest_sources
from mnist_flax.common.switches import in_our_settings
from mnist_flax.common.worker import Worker
from mnist_flax.training.results import RunResult


class Finished(NamedTuple):
    """A group whose results are complete."""

    folder: pathlib.Path
    program: Program
    runs: range  # positions in the program's plan


class Job(abc.ABC):
    """The runs of a config, or of an ablation."""

    config: ml_collections.ConfigDict  # of the runs; of an ablation that of the recipe
    field: str  # of the config, which says how many runs a group has
    report: str  # the file that says that there is a report
    is_shown: bool  # whether to show the epochs, and to record them

    @abc.abstractmethod
    def plan(self) -> list[Program]:
        """Plans the runs.

        Raises:
          UserError: The config or the data is not usable.
        """

    @abc.abstractmethod
    def describe(self, programs: Sequence[Program]) -> dict[str, Any]:
        """Returns the settings that all workers must have, by name."""

    @abc.abstractmethod
    def save(
        self,
        program: Program,
        folder: pathlib.Path,
        results: list[RunResult],
        seconds: dict[str, float],
    ) -> None:
        """Writes the results of a group into its folder, with the seconds they took."""

    @abc.abstractmethod
    def write_report(
        self,
        folder: pathlib.Path,
        programs: Sequence[Program],
        groups: Sequence[Finished],
        environment: dict[str, Any],
    ) -> Any:
        """Writes the report of groups that are finished, and returns what it came to."""


def imitate_devices(job: Job) -> None:
    """Has this process take as many devices for there as the config wants.

    To be called before JAX looks for devices, where nothing is computed: this machine may
    have fewer than those of the workers.
    """
    if num_devices := job.config.get('num_devices', 0):
        jax.config.update('jax_platforms', 'cpu')
        jax.config.update('jax_num_cpu_devices', num_devices)


def run_flags(job: Job, workdir: str, values: flags.FlagValues) -> Any:
    """Does what the flags of workers say, and returns the report, if any."""
    if values.gather:
        imitate_devices(job)
        return gather(job, workdir, values.unfinished)
    if values.launched:
        agreements.find(workdir)
    return train(job, workdir, worker.read(values.worker, values.num_workers))


@in_our_settings()
def train(job: Job, workdir: str, this: Worker) -> Any:
    """Trains groups of runs that no other worker trains, until none is left.

    A group that was begun is resumed. Whoever finishes the last one writes the report.

    Args:
      job: What to train, the same for all.
      workdir: The folder that all workers share.
      this: Which worker this is.

    Returns:
      What the report came to, if this one wrote it; otherwise None.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: The config, the data or the workdir is not usable, or a group has failed,
        after the others.
    """
    programs = job.plan()
    shared = _join(job, programs, workdir)
    if not working.work(shared, programs, this, job.save, job.is_shown):
        return None
    with agreements.lock(shared.folder):
        return None if shared.is_reported(job.report) else _gather(job, programs, shared)


@in_our_settings()
def gather(job: Job, workdir: str, only_finished: bool = False) -> Any:
    """Writes the report of runs that workers have trained; nothing is trained.

    Args:
      job: What they have trained.
      workdir: The folder that they share.
      only_finished: Whether to report the groups that are finished, though others are not.

    Returns:
      What the report came to.

    Raises:
      UserError: Some groups are not finished, or none is.
    """
    shared = agreements.find(workdir)
    programs = job.plan()
    agreements.require_same(shared, _settle(job, programs))
    with agreements.lock(shared.folder):
        return _gather(job, programs, shared, only_finished)


@in_our_settings()
def make(job: Job, workdir: str) -> SharedWorkdir:
    """Makes the workdir that workers will share, or checks that it is one for them.

    Args:
      job: What they will train.
      workdir: The folder.

    Raises:
      UserError: The config, the data or the workdir is not usable.
    """
    return _join(job, job.plan(), workdir)


def _join(job: Job, programs: Sequence[Program], workdir: str) -> SharedWorkdir:
    names = working.name_groups(programs, job.field)
    return agreements.join(workdir, _settle(job, programs), names)


def _settle(job: Job, programs: Sequence[Program]) -> dict[str, Any]:
    source: dict[str, str] = {}
    for recipe in (program.plan.recipe for program in programs):
        source |= digest_sources(recipe.functions) | recipe.loss.digests
    settings = {**job.describe(programs), 'source': source}
    return json.loads(json.dumps(settings))  # as they will be read


def _gather(
    job: Job,
    programs: Sequence[Program],
    shared: SharedWorkdir,
    only_finished: bool = False,
) -> Any:
    shared.require_unchanged()
    names = status.require_finished(shared, only_finished)
    assigned = working.assign(shared, programs)
    groups = [Finished(shared.folder / FINISHED / of, *assigned[of]) for of in names]
    environment = shared.read_environment(names)
    report = job.write_report(shared.folder, programs, groups, environment)
    shared.note_report(names)
    return report
