"""The text of ``metrics.txt``: the numbers of ``metrics.json``, as a person reads them."""

import math
from collections.abc import Mapping
from typing import Any

from mnist_flax.common import tables
from mnist_flax.reporting import selection


def to_text(numbers: Mapping[str, Any]) -> str:
    """Writes a line a number; of several runs with its spread; of a sweep the ranking.

    Args:
      numbers: The contents of ``metrics.json``. In the list ``points`` are those of
        `selection.to_json`.
    """
    text = ''
    if 'points' in numbers:
        ranked = selection.from_json(numbers['points'])
        choice = selection.describe_choice(ranked)
        text = f'{selection.to_text(ranked)}\n{choice}\n\n'
        chosen = _leave_out(numbers.get('chosen', {}), 'values')
        numbers = _leave_out({**numbers, 'chosen': chosen}, 'points')
    return text + tables.to_text(_shorten(numbers, 1))


def _leave_out(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != name}


def _shorten(tree: Any, num_runs: int) -> Any:
    """Replaces each spread over runs by a line."""
    if not isinstance(tree, Mapping):
        return tree
    if 'mean' in tree:
        return _describe(tree, num_runs)
    num_runs = tree.get('num_runs', num_runs) - tree.get('num_diverged', 0)
    return {name: _shorten(value, num_runs) for name, value in tree.items()}


def _describe(spread: Mapping[str, Any], num_runs: int) -> str:
    if 'sd' not in spread:
        return f'{spread["mean"]:.6g} (1 run)'
    # Two digits of the standard deviation, as for a result with its error; not of rounding.
    sd = spread['sd']
    n = max(0, 1 - math.floor(math.log10(sd))) if sd >= 1e-12 else 6
    low, high = spread['mean_95_percent_interval']
    return (
        f'{spread["mean"]:.{n}f} ± {sd:.{n}f} '
        f'(95 % interval {low:.{n}f} to {high:.{n}f}, {num_runs} runs)'
    )
