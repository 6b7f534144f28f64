"""Fields that a command line adds to a config, such as ``--config.optimizer.momentum=0.9``.

A config file need not list all arguments of its constructors, nor what may be swept.
"""

import ast
from collections.abc import Sequence
from typing import Any

import ml_collections

# Subtrees in which a user chooses the names.
_OPEN = ('sweep', 'metrics', 'evaluators', 'writers')


def take(
    arguments: Sequence[str], config: ml_collections.ConfigDict
) -> tuple[list[str], dict[str, Any]]:
    """Takes the new fields out of a command line.

    Args:
      arguments: The command line.
      config: The config of its file.

    Returns:
      The other arguments, and the values of new fields by path.
    """
    others: list[str] = []
    found: dict[str, Any] = {}
    waiting = ''  # the path of a flag whose value is the next argument
    for argument in arguments:
        name, equals, value = argument.partition('=')
        prefix, _, path = name.lstrip('-').partition('.')
        if waiting and not argument.startswith('--'):
            found[waiting], waiting = _parse(argument), ''
            continue
        if waiting:  # without a value, as boolean flags are given
            found[waiting], waiting = True, ''
        if not (name.startswith('-') and prefix == 'config' and may_add(config, path)):
            others.append(argument)
        elif equals:
            found[path] = _parse(value)
        else:
            waiting = path
    if waiting:
        found[waiting] = True
    return others, found


def add(config: ml_collections.ConfigDict, fields: dict[str, Any]) -> None:
    """Adds fields to a config, by path."""
    for path, value in fields.items():
        *parents, field = path.split('.')
        tree = config
        with config.unlocked():
            for parent in parents:
                if parent not in tree:
                    tree[parent] = ml_collections.ConfigDict()
                tree = tree[parent]
            tree[field] = value


def may_add(config: ml_collections.ConfigDict, path: str) -> bool:
    """Tells whether a field is not in a config and may be added.

    It may below a ``constructor``, whose signature says which arguments there are, in an
    empty subtree, and where names are the user's.
    """
    tree: Any = config
    names = path.split('.')
    for i, name in enumerate(names):
        if not (isinstance(tree, ml_collections.ConfigDict) and name):
            return False
        if name not in tree:
            is_open = names[0] in _OPEN and len(names) > 1
            is_last = i == len(names) - 1
            return is_open or (is_last and (not tree or 'constructor' in tree))
        tree = tree[name]
    return False


def _parse(text: str) -> Any:
    """Reads a Python value, or ``true`` and ``false``; anything else is a string."""
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    try:
        value = ast.literal_eval(text)
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return text
    return text if value is ... else value
