"""How much memory this process may have: that of the machine, or less in a container."""

import pathlib
from collections.abc import Iterator

import psutil

_CGROUPS = pathlib.Path('/sys/fs/cgroup')
_OWN_CGROUP = pathlib.Path('/proc/self/cgroup')


def count_bytes() -> int:
    """Counts the bytes of memory that this process may have."""
    of_machine = psutil.virtual_memory().total
    return min([of_machine, *_read_limits(_CGROUPS, _OWN_CGROUP)])


def _read_limits(cgroups: pathlib.Path, own: pathlib.Path) -> Iterator[int]:
    """Reads the limits of the process's control groups, of version 1 or 2 (Linux only)."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(':', 2)
        if not controllers:
            root, name = cgroups, 'memory.max'  # version 2
        elif 'memory' in controllers.split(','):
            root, name = cgroups / 'memory', 'memory.limit_in_bytes'
        else:
            continue
        folder = root / path.lstrip('/')
        # A limit of any group above holds too. In a container only the root may be there.
        for group in (folder, *folder.parents):
            try:
                text = (group / name).read_text().strip()
            except OSError:
                text = ''
            if text.isdecimal():  # not 'max'
                yield int(text)
            if group == root:
                break
