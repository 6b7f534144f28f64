"""What a compiled program does in each pass of its loop, read from its text."""

import collections
import re
from collections.abc import Iterator

# They compute nothing, or are the second half of another one.
_FREE = frozenset(
    {'parameter', 'tuple', 'get-tuple-element', 'constant', 'bitcast', 'iota'}
)
_SECOND_HALF = '-done'


def count_operations(hlo: str) -> collections.Counter[str]:
    """Counts by kind what each pass of the longest loop starts, such as GPU kernels.

    Args:
      hlo: The program's text, as `jax.stages.Compiled.as_text` gives it.

    Returns:
      The counts; empty if there is no loop. A loop within the loop counts once.
    """
    computations = _split(hlo)
    bodies = set(re.findall(r'body=%?([\w.\-]+)', hlo))
    counts = [collections.Counter(_list_operations(computations, body)) for body in bodies]
    return max(counts, key=lambda count: count.total(), default=collections.Counter())


def count_groups(hlo: str) -> collections.Counter[int]:
    """Counts convolutions of several groups by their number of groups."""
    groups = map(int, re.findall(r'feature_group_count=(\d+)', hlo))
    return collections.Counter(number for number in groups if number > 1)


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


def _list_operations(computations: dict[str, list[str]], name: str) -> Iterator[str]:
    for line in computations[name]:
        found = re.search(r'= .*? ([a-z\-]+)\(', line)
        if not found or found[1] in _FREE or found[1].endswith(_SECOND_HALF):
            continue
        called = re.search(r'(?:to_apply|calls)=%?([\w.\-]+)', line)
        if found[1] in ('call', 'async-start') and called:
            yield from _list_operations(computations, called[1])
        else:
            yield found[1]
