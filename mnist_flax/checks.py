"""What a user can get wrong, found early and said in one line."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import ml_collections
from beartype import BeartypeConf
from beartype.door import is_bearable

_T = TypeVar('_T')

# Python's own rule for numbers: an int is welcome where a float is asked for.
_INT_IS_FLOAT = BeartypeConf(is_pep484_tower=True)


class UserError(Exception):
    """Something a user can mend; the message is one line: what, found, allowed."""


def require(condition: bool, message: str) -> None:
    """Raises `UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)


def construct(
    constructor: Callable[..., _T], settings: ml_collections.ConfigDict, path: str
) -> _T:
    """Calls ``constructor`` with a config subtree as keyword arguments.

    Args:
      constructor: A function or class whose signature names and annotates every
        field that the subtree may hold.
      settings: The subtree.
      path: Its place in the config, such as ``'config.model'``, for messages.

    Returns:
      What the constructor returns.

    Raises:
      UserError: A field is unknown, missing or of another type.
    """
    parameters = inspect.signature(constructor).parameters
    require(
        isinstance(settings, ml_collections.ConfigDict),
        f'{path}: found {settings!r}; allowed: a ConfigDict with the fields '
        f'{", ".join(parameters)}',
    )
    arguments: dict[str, Any] = dict(settings.items())
    for name in arguments:
        require(
            name in parameters,
            f'{path} has no field {name!r}; its fields are {", ".join(parameters)}',
        )
    for name, parameter in parameters.items():
        if name not in arguments:
            require(
                parameter.default is not inspect.Parameter.empty,
                f'{path}.{name} is missing; allowed: {_describe(parameter)}',
            )
            continue
        value = arguments[name]
        # isinstance(True, int) holds, yet True is no sensible seed or size.
        numeric_bool = isinstance(value, bool) and parameter.annotation in (int, float)
        require(
            not numeric_bool
            and is_bearable(value, parameter.annotation, conf=_INT_IS_FLOAT),
            f'{path}.{name}: found {value!r}; allowed: {_describe(parameter)}',
        )
    return constructor(**arguments)


def _describe(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if isinstance(annotation, type) and not hasattr(annotation, '__args__'):
        return annotation.__name__
    return str(annotation).replace('typing.', '')
