"""Calls functions with the fields of a config as arguments, and checks these first."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import ml_collections
import typeguard

from mnist_flax.common import renamed
from mnist_flax.common.errors import UserError, require

_T = TypeVar('_T')


def construct(
    constructor: Callable[..., _T], settings: Any, path: str, **others: Any
) -> _T:
    """Calls ``constructor`` with a config subtree as keyword arguments.

    Args:
      constructor: A function or class whose signature names and annotates the fields that
        the subtree may hold; those without a default it must hold. With ``**fields`` in
        its signature it may hold any other field too.
      settings: The subtree; anything else is refused.
      path: Its place in the config, such as ``'config.model'``, for messages.
      **others: Arguments that do not come from the config; the constructor gets those that
        it names, or all of them with ``**fields``.

    Returns:
      What the constructor returns.

    Raises:
      UserError: A field is unknown, missing or of another type.
    """
    signature = inspect.signature(constructor, eval_str=True).parameters
    kinds = {parameter.kind for parameter in signature.values()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    parameters = {
        name: parameter
        for name, parameter in signature.items()
        if name not in others
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    known = ', '.join(parameters)
    require(
        isinstance(settings, ml_collections.ConfigDict),
        f'{path}: found {settings!r}; allowed: a ConfigDict'
        + (f' with the fields {known}' if known else ''),
    )
    arguments: dict[str, Any] = dict(settings.items())
    for name in arguments:
        successor = renamed.FIELDS.get(f'{path}.{name}')
        require(not successor, f'{path}.{name} was replaced; use {successor}')
        require(
            name in parameters or (takes_any and name not in others),
            f'{path} has no field {name!r}; '
            + (f'its fields are {known}' if known else 'it takes no fields'),
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
    taken = {name: of for name, of in others.items() if takes_any or name in signature}
    return constructor(**arguments, **taken)


def construct_named(settings: ml_collections.ConfigDict, path: str, **others: Any) -> Any:
    """Calls the function that ``settings.constructor`` names with the other fields.

    So a model or an augmentation can come from a file of your own.

    Args:
      settings: The subtree; its ``constructor`` is ``'module.function'``.
      path: Its place in the config, for messages.
      **others: Arguments that do not come from the config, as in `construct`.

    Returns:
      What the function returns.

    Raises:
      UserError: There is no such function, or as in `construct`.
    """
    fields = dict(settings.items())
    name = fields.pop('constructor', None)
    module, _, function = name.rpartition('.') if isinstance(name, str) else ('', '', '')
    successor = renamed.CONSTRUCTORS.get(name) if module else None
    require(not successor, f'{path}.constructor: {name!r} has moved; use {successor!r}')
    constructor, problem = None, ''
    if module and not module.startswith('.'):
        try:
            constructor = getattr(importlib.import_module(module), function)
            inspect.signature(constructor, eval_str=True)
        except Exception as error:  # a user's own module can raise anything
            constructor, problem = None, f' ({type(error).__name__}: {error})'
    require(
        callable(constructor),
        f'{path}.constructor: found {name!r}{problem}; allowed: a function that can be '
        "imported, as 'module.function'",
    )
    fields = ml_collections.ConfigDict(fields)
    return construct(cast(Callable[..., Any], constructor), fields, path, **others)


def _has_type(value: Any, annotation: Any) -> bool:
    # isinstance(True, int) holds, yet True is no sensible seed or size.
    if isinstance(value, bool) and annotation in (int, float):
        return False
    if annotation is inspect.Parameter.empty:  # in a user's own function
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
