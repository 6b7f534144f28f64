"""What a compiled program does in each pass of its loop, read from its text."""

import collections
import re
from collections.abc import Iterator

_BODY = r'body=%?([\w.\-]+)'  # the computation that a loop repeats
# They compute nothing.
_FREE = ('parameter', 'tuple', 'get-tuple-element', 'constant', 'bitcast', 'iota')


def count_operations(hlo: str) -> collections.Counter[str]:
    """Counts by kind what each pass of a program's loop starts, such as GPU kernels.

    Args:
      hlo: The program's text, as `jax.stages.Compiled.as_text` gives it.

    Returns:
      The counts; empty if there is no loop. Of several loops it is that with most
      operations; a loop within it counts as one of them, ``while``.
    """
    computations = _split(hlo)
    bodies = {body: [*_list_lines(computations, body)] for body in re.findall(_BODY, hlo)}
    inner = {
        name
        for lines in bodies.values()
        for line in lines
        for name in re.findall(_BODY, line)
    }
    counts = [
        collections.Counter(map(_read_kind, lines))
        for body, lines in bodies.items()
        if body not in inner
    ]
    return max(counts, key=lambda count: count.total(), default=collections.Counter())


def count_groups(hlo: str) -> collections.Counter[int]:
    """Counts convolutions of several groups by their number of groups."""
    groups = map(int, re.findall(r'feature_group_count=(\d+)', hlo))
    return collections.Counter(number for number in groups if number > 1)


def _read_kind(line: str) -> str:
    found = re.search(r'= .*? ([a-z\-]+)\(', line)
    return found[1] if found else ''


def _split(hlo: str) -> dict[str, list[str]]:
    """Divides a program into its computations: their lines by name."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in hlo.splitlines():
        if start := re.match(r'(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$', line):
            lines = computations[start[1]] = []
        else:
            lines.append(line)
    return computations


def _list_lines(computations: dict[str, list[str]], name: str) -> Iterator[str]:
    """Yields the operations of a computation, and of those that it calls."""
    for line in computations.get(name, []):
        kind = _read_kind(line)
        # Of an operation in two halves, the second one only waits for the first.
        if not kind or kind in _FREE or kind.endswith('-done'):
            continue
        called = re.search(r'(?:to_apply|calls)=%?([\w.\-]+)', line)
        if kind in ('call', 'async-start') and called:
            yield from _list_lines(computations, called[1])
        else:
            yield line
