"""How far the groups of a shared workdir are."""

import contextlib
import itertools
from collections.abc import Set

from mnist_flax.cluster import agreements
from mnist_flax.cluster.shared_workdirs import SharedWorkdir
from mnist_flax.common.errors import UserError, require

_MOST_NAMED = 10  # groups, in a message
_MOST_SHOWN = 20  # groups of a kind
_MOST_TIMED = 50  # finished groups whose time is read


def describe(workdir: str) -> str:
    """Says which groups are done, running, failed or pending, and the time left.

    Raises:
      UserError: No workers share the folder.
    """
    shared = agreements.find(workdir)
    finished = shared.list_finished()
    running = list_running(shared)
    failed, begun = {}, []
    for name in _sort(shared, shared.list_begun() - running.keys()):
        if reason := shared.read_failure(name):
            failed[name] = reason
        elif shared.newest_step(name):
            begun.append(name)
    counts = len(finished), len(running), len(failed)
    num_pending = len(shared.names) - sum(counts)
    lines = [
        f'{len(shared.names):,} groups: {counts[0]:,} done, {counts[1]:,} running, '
        f'{counts[2]:,} failed, {num_pending:,} pending, {len(begun):,} of them begun'
    ]
    for title, found in (('running', running), ('failed', failed)):
        shown = itertools.islice(found.items(), _MOST_SHOWN)
        lines += [f'  {title}: {name}, {what}' for name, what in shown]
        if len(found) > _MOST_SHOWN:
            lines.append(f'  {title}: and {len(found) - _MOST_SHOWN:,} more')
    lines.append(_say_time_left(shared, finished, len(running), num_pending))
    return '\n'.join(lines)


def require_finished(shared: SharedWorkdir, only_finished: bool) -> list[str]:
    """Lists the groups that are finished, in order.

    Args:
      shared: The workdir.
      only_finished: Whether others may be unfinished.

    Raises:
      UserError: Some are unfinished, or all.
    """
    finished = shared.list_finished()
    names = [name for name in shared.names if name in finished]
    missing = describe_unfinished(shared)
    require(
        not missing or only_finished,
        f'--gather: not finished in {shared.folder}: {missing}; start workers again, or '
        'add --unfinished to report the others',
    )
    require(bool(names), f'--gather: no group in {shared.folder} is finished yet')
    if missing:
        print(f'left out, as not finished: {missing}', flush=True)
    return names


def describe_unfinished(shared: SharedWorkdir) -> str:
    """Names the groups that are not finished, and says what is known of each."""
    finished = shared.list_finished()
    names = [name for name in shared.names if name not in finished]
    more = len(names) - _MOST_NAMED
    listed = [f'{name} ({_describe(shared, name)})' for name in names[:_MOST_NAMED]]
    return ', '.join(listed) + (f' and {more} more groups' if more > 0 else '')


def _describe(shared: SharedWorkdir, name: str) -> str:
    if owner := shared.read_owner(name):
        return f'in training on {owner}'
    if reason := shared.read_failure(name):
        return f'failed: {reason}'
    step = shared.newest_step(name)
    return f'saved at step {step:,}' if step else 'not begun'


def list_running(shared: SharedWorkdir) -> dict[str, str]:
    """Lists the groups that are in training, and says of each where."""
    owners = {of: shared.read_owner(of) for of in _sort(shared, shared.list_begun())}
    return {name: f'on {owner}' for name, owner in owners.items() if owner}


def _sort(shared: SharedWorkdir, names: Set[str]) -> list[str]:
    return [name for name in shared.names if name in names]


def _say_time_left(
    shared: SharedWorkdir, finished: set[str], num_running: int, num_pending: int
) -> str:
    if len(finished) == len(shared.names):
        return 'all groups are done'
    if not num_running:
        return 'no worker is running'
    seconds = []
    for name in sorted(finished)[:_MOST_TIMED]:
        with contextlib.suppress(UserError):
            seconds.append(shared.read_about(name)['seconds'])
    if not seconds:
        return 'the time left is known when the first group is done'
    # Those that are running are half done on average.
    num_left = num_pending + num_running / 2
    minutes = sum(seconds) / len(seconds) * num_left / num_running / 60
    return f'about {minutes:.0f} min left with {num_running:,} workers'
