"""Calls functions with the fields of a config as arguments, and checks these first."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import ml_collections
import typeguard

from mnist_flax.common.errors import UserError, require

_T = TypeVar('_T')


def construct(
    constructor: Callable[..., _T], settings: Any, path: str, **others: Any
) -> _T:
    """Calls ``constructor`` with a config subtree as keyword arguments.

    Args:
      constructor: A function or class whose signature names and annotates every
        field that the subtree may hold; those without a default it must hold.
      settings: The subtree; anything else is refused.
      path: Its place in the config, such as ``'config.model'``, for messages.
      **others: Arguments of the constructor that do not come from the config.

    Returns:
      What the constructor returns.

    Raises:
      UserError: A field is unknown, missing or of another type.
    """
    parameters = {
        name: parameter
        for name, parameter in _signature(constructor).items()
        if name not in others
    }
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
        allowed = _describe(parameter)
        if name not in arguments and parameter.default is not parameter.empty:
            continue
        require(name in arguments, f'{path}.{name} is missing; allowed: {allowed}')
        value = arguments[name]
        require(
            _has_type(value, parameter.annotation),
            f'{path}.{name}: found {value!r}; allowed: {allowed}',
        )
        try:
            arguments[name] = _as_float(value, parameter.annotation)
        except OverflowError as error:
            raise UserError(
                f'{path}.{name}: found an integer that is too large ({error}); '
                f'allowed: {allowed}'
            ) from error
    return constructor(**arguments, **others)


def construct_named(settings: ml_collections.ConfigDict, path: str, **others: Any) -> Any:
    """Calls the function that ``settings.constructor`` names with the other fields.

    So a model or an augmentation can come from a file of one's own.

    Args:
      settings: The subtree; its ``constructor`` is ``'module.function'``.
      path: Its place in the config, for messages.
      **others: Arguments of the function that do not come from the config.

    Returns:
      What the function returns.

    Raises:
      UserError: There is no such function, or as in `construct`.
    """
    fields = dict(settings.items())
    name = fields.pop('constructor', None)
    module, _, function = name.rpartition('.') if isinstance(name, str) else ('', '', '')
    problem = 'no module and function'
    constructor = None
    if module and not module.startswith('.'):
        try:
            constructor = getattr(importlib.import_module(module), function)
            _signature(constructor)
        except Exception as error:  # a module of a user's own can raise anything
            problem, constructor = f'{type(error).__name__}: {error}', None
    require(
        callable(constructor),
        f'{path}.constructor: found {name!r} ({problem}); allowed: a function that can be '
        "imported from here, as 'module.function'",
    )
    fields = ml_collections.ConfigDict(fields)
    return construct(cast(Callable[..., Any], constructor), fields, path, **others)


def _signature(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(
            constructor, eval_str=True
        ).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _has_type(value: Any, annotation: Any) -> bool:
    # isinstance(True, int) holds, yet True is no sensible seed or size.
    if isinstance(value, bool) and annotation in (int, float):
        return False
    if annotation is inspect.Parameter.empty:  # in a function of a user's own
        return True
    every_item = typeguard.CollectionCheckStrategy.ALL_ITEMS
    try:
        typeguard.check_type(value, annotation, collection_check_strategy=every_item)
    except typeguard.TypeCheckError:
        return False
    return True


def _as_float(value: Any, annotation: Any) -> Any:
    """Converts an integer where a float is wanted, as in ``learning_rate=1``."""
    if annotation is float:
        return float(value)
    if annotation == tuple[float, ...]:
        return tuple(map(float, value))
    return value


def _describe(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return 'any value'
    if get_origin(annotation) is Literal:
        return ', '.join(repr(value) for value in get_args(annotation))
    return str(annotation) if get_args(annotation) else annotation.__name__
