"""One process's part of the runs of a config, and the report when all are done."""

import ml_collections

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.cluster.shared_workdirs import SharedWorkdir
from mnist_flax.cluster.worker import Worker
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.switches import in_our_settings
from mnist_flax.train import Result, train_and_evaluate
from mnist_flax.training.plan import Plan, describe, make_plans
from mnist_flax.training.progress import TimeLeft
from mnist_flax.training.snapshots import SnapshotStore
from mnist_flax.training.trainer import Trainer

_MOST_NAMED = 10  # groups, in a message


@in_our_settings()
def train_part(
    config: ml_collections.ConfigDict, workdir: str, worker: Worker
) -> Result | None:
    """Trains a worker's groups of runs, in a workdir that all workers share.

    A group that is finished is skipped, and one that was begun is resumed. Whoever finishes
    last writes the report.

    Args:
      config: The settings, the same for all.
      workdir: The folder that they share.
      worker: Which one this is.

    Returns:
      The result, if this one wrote the report.

    Raises:
      Interrupted: Ctrl-C or SIGTERM came while training, and the runs are saved.
      UserError: As in `train_and_evaluate`; or another process works on one of the groups,
        or with other settings.
    """
    plans, shared, stores = _open(config, workdir)
    num_runs = sum(len(plan.runs) for plan in plans)
    time_left = TimeLeft(num_runs, num_runs / worker.num_workers)
    for number, (plan, store) in enumerate(zip(plans, stores, strict=True)):

        def choose(groups, number=number, plan=plan, store=store):
            agreed = shared.list_groups(plan, groups)
            own = [of for i, of in enumerate(agreed, start=number) if worker.has(i)]
            return [group for group in own if not store.is_finished(group)]

        if shared.list_groups(plan, None) and not choose(None):
            continue  # which spares the time to compile
        trainer = Trainer(plan, store, shared.folder, time_left, choose)
        for _ in trainer.train():
            pass
    print(f'worker {worker.number} of {worker.num_workers} has done its part', flush=True)
    if missing := _list_missing(plans, shared, stores):
        print(f'not finished yet: {_name(missing)}', flush=True)
        return None
    try:
        return gather(config, workdir)
    except UserError as error:
        if 'another process is working' not in str(error):
            raise
        print('another worker writes the report', flush=True)
        return None


def gather(
    config: ml_collections.ConfigDict, workdir: str, only_finished: bool = False
) -> Result:
    """Writes the report of runs that workers have trained.

    Args:
      config: The settings, as those of the workers.
      workdir: The folder that they share.
      only_finished: Whether to report the groups that are finished, though others are not.

    Returns:
      The result.

    Raises:
      UserError: Some groups are not finished.
    """
    plans, shared, stores = _open(config, workdir)
    missing = _list_missing(plans, shared, stores)
    require(
        not missing or only_finished,
        f'--gather: not finished in {shared.folder}: {_name(missing)}; start their workers '
        'again, or add --unfinished to report the others',
    )
    if missing:
        print(f'left out, as not finished: {_name(missing)}', flush=True)
    with workdirs.lock(shared.folder):
        shared.collect_records()
    return train_and_evaluate(config, workdir, only_finished=bool(missing))


def _open(
    config: ml_collections.ConfigDict, workdir: str
) -> tuple[list[Plan], SharedWorkdir, list[SnapshotStore]]:
    plans = make_plans(config)
    require(
        plans[0].checkpoint.resume,
        'config.checkpoint.resume: found False; allowed: True, as the work of others would '
        'be moved aside',
    )
    settings = describe(config, plans)
    shared = SharedWorkdir(workdir, settings)
    folder = shared.folder / workdirs.CHECKPOINTS
    return plans, shared, [SnapshotStore(folder, plan, settings) for plan in plans]


def _list_missing(
    plans: list[Plan], shared: SharedWorkdir, stores: list[SnapshotStore]
) -> list[str]:
    """Names the groups that are not finished."""
    missing = []
    for plan, store in zip(plans, stores, strict=True):
        # Nobody has begun a plan without groups.
        groups = shared.list_groups(plan, None) or [range(len(plan.runs))]
        for group in groups:
            if not store.is_finished(group):
                first, last = (plan.runs[i].position + 1 for i in (group[0], group[-1]))
                runs = f'run {first}' if first == last else f'runs {first} to {last}'
                step = checkpoints.newest_step(store.path(group))
                at = f'step {step:,} of {plan.num_steps:,}' if step else 'not begun'
                missing.append(f'{runs} ({at})')
    return missing


def _name(groups: list[str]) -> str:
    more = len(groups) - _MOST_NAMED
    return ', '.join(groups[:_MOST_NAMED]) + (
        f' and {more} more groups' if more > 0 else ''
    )
