"""What ``config.sweep`` varies: any fields of a config, in a grid or a list of your own."""

import inspect
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import ml_collections
import numpy as np

from mnist_flax.common import renamed
from mnist_flax.common.constructors import construct, find_constructor
from mnist_flax.common.errors import UserError, require

# New values of fields, by their path, such as 'optimizer.learning_rate'.
Overrides: TypeAlias = dict[str, Any]

# Fields that say which runs there are and where, what they are compared on, and what is
# measured and written of them.
_FIXED = (
    'sweep', 'seed', 'runs', 'runs_at_once', 'num_devices', 'checkpoint', 'writers',
    'log_every_steps', 'evaluators', 'metrics', 'dataset.name', 'dataset.data_dir',
    'dataset.test_split', 'dataset.validation', 'dataset.holdout_size',
)  # fmt: skip


def read(config: ml_collections.ConfigDict) -> list[Overrides]:
    """Lists the combinations that ``config.sweep`` asks for.

    Its fields have the places of those that they vary, each with a tuple of values:
    ``config.sweep.optimizer.learning_rate = (1e-3, 3e-3)``; all combinations are made. Or
    ``config.sweep.constructor`` names a function that returns a list of `Overrides`.

    Args:
      config: The settings.

    Returns:
      The combinations; a single empty one without a sweep.

    Raises:
      UserError: The config has no such field or it cannot be swept, a value is there twice,
        or the function fails or returns something else.
    """
    sweep = config.sweep
    if not sweep:
        return [{}]
    if 'constructor' in sweep:
        points = _call(sweep)
    else:
        varied = dict(_flatten(sweep, ''))
        for path, values in varied.items():
            if any(type(value) is float for value in values):  # as in (0, 0.5)
                varied[path] = tuple(
                    float(value) if type(value) is int else value for value in values
                )
            distinct = {json.dumps(value, default=str) for value in varied[path]}
            require(
                len(distinct) == len(values),
                f'config.sweep.{path}: {values} has a value twice',
            )
        points = [
            dict(zip(varied, values, strict=True))
            for values in itertools.product(*varied.values())
        ]
    paths = dict.fromkeys(path for point in points for path in point)
    for path in paths:
        above = [other for other in paths if path.startswith(f'{other}.')]
        require(
            not above,
            f'config.sweep.{path}: config.sweep.{", ".join(above)} is swept too, which '
            'holds this field; sweep one of them',
        )
        fixed = [name for name in _FIXED if path == name or path.startswith(f'{name}.')]
        require(
            not fixed,
            f'config.sweep.{path}: this field must be the same for all runs of a sweep',
        )
        parent, field = _find_parent(config, path, f'config.sweep.{path}')
        for point in points:
            require(
                path in point or field in parent,
                f'config.sweep.{path}: {point} does not have it, nor does the config',
            )
            value = parent.get(field)
            is_subtree = isinstance(value, ml_collections.ConfigDict)
            point.setdefault(path, value.to_dict() if is_subtree else value)
    return [{path: point[path] for path in paths} for point in points]


def _flatten(tree: ml_collections.ConfigDict, prefix: str) -> Iterator[tuple[str, tuple]]:
    for name, value in tree.items():
        path = f'{prefix}{name}'
        successor = renamed.FIELDS.get(f'config.sweep.{path}')
        require(not successor, f'config.sweep.{path} was replaced; use {successor}')
        if isinstance(value, ml_collections.ConfigDict):
            yield from _flatten(value, f'{path}.')
        else:
            require(
                isinstance(value, (tuple, list)) and len(value) > 0,
                f'config.sweep.{path}: found {value!r}; allowed: a tuple of values, such '
                'as (1e-3, 3e-3)',
            )
            yield path, tuple(value)


def _call(sweep: ml_collections.ConfigDict) -> list[Overrides]:
    constructor, fields = find_constructor(sweep, 'config.sweep')
    points = construct(constructor, fields, 'config.sweep')
    if inspect.isgenerator(points):
        points = [*points]
    require(
        isinstance(points, (list, tuple))
        and len(points) > 0
        and all(isinstance(point, Mapping) and point for point in points)
        and all(isinstance(path, str) for point in points for path in point),
        f'config.sweep.constructor: {sweep.constructor} must return a list of dictionaries '
        "from paths to values, such as [{'optimizer.learning_rate': 1e-3}, ...]",
    )
    points = [{path: _to_plain(value) for path, value in point.items()} for point in points]
    texts = [json.dumps(point, default=str, sort_keys=True) for point in points]
    twice = [
        point for point, text in zip(points, texts, strict=True) if texts.count(text) > 1
    ]
    require(not twice, f'config.sweep.constructor: it returns {twice[:1]} twice')
    return points


def _to_plain(value: Any) -> Any:
    """Converts NumPy's numbers and arrays."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def override(
    config: ml_collections.ConfigDict, overrides: Mapping[str, Any], where: str
) -> ml_collections.ConfigDict:
    """Returns a config with other values of some fields.

    A dictionary that names a ``constructor`` takes the place of a whole subtree; any other
    changes the fields that it has.

    Args:
      config: The settings.
      overrides: Values by path.
      where: What to call the overrides in messages, such as ``'config.sweep'``.

    Raises:
      UserError: The config has no such field.
    """
    config = config.copy_and_resolve_references()
    for path, value in overrides.items():
        parent, field = _find_parent(config, path, f'{where}.{path}')
        if isinstance(value, dict):
            value = ml_collections.ConfigDict(value)
            if 'constructor' not in value and field in parent:
                below = {f'{path}.{name}': new for name, new in value.items()}
                config = override(config, below, where)
                continue
        with parent.unlocked(), parent.ignore_type():
            parent[field] = value
    return config


def _find_parent(
    config: ml_collections.ConfigDict, path: str, where: str
) -> tuple[ml_collections.ConfigDict, str]:
    """Finds the subtree that has a field, or may have it as an argument."""
    *parents, field = path.split('.')
    tree = config
    for parent in parents:
        tree = tree.get(parent) if isinstance(tree, ml_collections.ConfigDict) else None
    # Below a constructor any argument of it may be set; its signature says which exist.
    if not (
        isinstance(tree, ml_collections.ConfigDict)
        and (field in tree or 'constructor' in tree)
    ):
        raise UserError(f'{where}: this config has no field config.{path}')
    return tree, field


def group(
    config: ml_collections.ConfigDict, points: Sequence[Overrides], traced: set[str]
) -> list[tuple[ml_collections.ConfigDict, list[Overrides]]]:
    """Divides combinations into those that one program can train.

    Args:
      config: The settings.
      points: The combinations.
      traced: The paths whose values are not compiled in.

    Returns:
      For each program its config, in which the values of ``traced`` are those of its first
      combination, and its combinations.
    """
    groups: dict[str, list[Overrides]] = {}
    for point in points:
        compiled = {path: value for path, value in point.items() if path not in traced}
        key = json.dumps(compiled, default=str, sort_keys=True)
        groups.setdefault(key, []).append(point)
    return [
        (override(config, members[0], 'config.sweep'), members)
        for members in groups.values()
    ]
