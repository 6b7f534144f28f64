"""Calls functions with the fields of a config as arguments, and checks these first."""

import ast
import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import ml_collections
import numpy as np
import typeguard

from mnist_flax.common import renamed
from mnist_flax.common.errors import UserError, explain, require

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
      UserError: A field is unknown, missing or of another type, or the constructor fails.
    """
    arguments = read_arguments(constructor, settings, path, tuple(others))
    try:
        return constructor(**arguments, **select(constructor, others))
    except UserError:
        raise
    except Exception as error:  # a user's own function can raise anything
        name = getattr(constructor, '__name__', constructor)
        raise UserError(f'{path}: calling {name} fails ({explain(error)})') from error


def read_arguments(
    constructor: Callable[..., Any], settings: Any, path: str, others: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Checks the fields of a config subtree, which are arguments of ``constructor``.

    A field that is a subtree with a ``constructor`` itself stands for what that returns.

    Args:
      constructor: As in `construct`.
      settings: As in `construct`.
      path: As in `construct`.
      others: Names of the arguments that do not come from the config.

    Returns:
      The arguments, by name.

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
        isinstance(settings, (ml_collections.ConfigDict, dict)),
        f'{path}: found {settings!r}; allowed: a ConfigDict'
        + (f' with the fields {known}' if known else ''),
    )
    arguments: dict[str, Any] = dict(settings.items())
    for name, value in arguments.items():
        successor = renamed.FIELDS.get(f'{path}.{name}')
        require(
            not successor or name in parameters,
            f'{path}.{name} was replaced; use {successor}',
        )
        require(
            name in parameters or (takes_any and name not in others),
            f'{path} has no field {name!r}; '
            + (f'its fields are {known}' if known else 'it takes no fields'),
        )
        if isinstance(value, ml_collections.ConfigDict) and 'constructor' in value:
            annotation = name in parameters and parameters[name].annotation
            if type(value) not in (annotation, *get_args(annotation)):
                arguments[name] = construct_named(value, f'{path}.{name}')
    for name, parameter in parameters.items():
        allowed = _describe(parameter)
        if name not in arguments and parameter.default is not parameter.empty:
            continue
        given = f' (given without the config: {", ".join(others)})' if others else ''
        require(name in arguments, f'{path}.{name} is missing; allowed: {allowed}{given}')
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
    return arguments


def select(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the arguments that a function names; all of them if it takes ``**fields``."""
    signature = inspect.signature(function).parameters
    kinds = {parameter.kind for parameter in signature.values()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    return {name: of for name, of in offered.items() if takes_any or name in signature}


def construct_named(
    settings: ml_collections.ConfigDict, path: str, home: str = '', **others: Any
) -> Any:
    """Calls the function that ``settings.constructor`` names with the other fields.

    So a model or an augmentation can come from a file of your own.

    Args:
      settings: The subtree; its ``constructor`` is ``'module.function'``.
      path: Its place in the config, for messages.
      home: As in `find_constructor`.
      **others: Arguments that do not come from the config, as in `construct`.

    Returns:
      What the function returns.

    Raises:
      UserError: There is no such function, or as in `construct`.
    """
    constructor, fields = find_constructor(settings, path, home)
    return construct(constructor, fields, path, **others)


def find_constructor(
    settings: Any, path: str, home: str = ''
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Finds the function that ``settings.constructor`` names.

    Args:
      settings: The subtree.
      path: Its place in the config, for messages.
      home: The module where a name without a module is looked for, such as ``'optax'``.

    Returns:
      The function, and the other fields of the subtree.

    Raises:
      UserError: There is no such function.
    """
    require(
        isinstance(settings, ml_collections.ConfigDict),
        f'{path}: found {settings!r}; allowed: a ConfigDict with a constructor',
    )
    fields = dict(settings.items())
    name = fields.pop('constructor', None)
    full_name = name if isinstance(name, str) else ''
    if home and full_name.isidentifier():
        full_name = f'{home}.{full_name}'
    module, _, function = full_name.rpartition('.')
    successor = renamed.CONSTRUCTORS.get(full_name)
    require(not successor, f'{path}.constructor: {name!r} has moved; use {successor!r}')
    constructor, problem = None, ''
    if module and not module.startswith('.'):
        try:
            constructor = getattr(importlib.import_module(module), function)
            inspect.signature(constructor, eval_str=True)
        except Exception as error:  # a user's own module can raise anything
            constructor, problem = None, f' ({explain(error)})'
    require(
        callable(constructor),
        f'{path}.constructor: found {name!r}{problem}; allowed: a function that can be '
        "imported, as 'module.function'"
        + (f', or one of {_list_functions(home)}' if home else ''),
    )
    return cast(Callable[..., Any], constructor), fields


def digest_sources(functions: Iterable[Callable[..., Any]]) -> dict[str, str]:
    """Digests the files of functions of a user's own, to see whether one was edited.

    The whole file, since a function may be a few lines that call all the others.

    Returns:
      A digest of each file by the name of its module. This project's and its libraries'
      are left out: newer versions of them continue what older ones began.
    """
    digests = {}
    for function in functions:
        name = str(function.__module__)
        if name.partition('.')[0] in ('mnist_flax', 'optax', 'flax', 'jax'):
            continue
        try:
            if name == '__main__':  # the cells of a notebook are no file
                name += f'.{function.__qualname__}'
                source = inspect.getsource(function)
            else:
                source = _read_file(name)
        except (ImportError, OSError, TypeError):  # it has none
            continue
        digests[name] = hashlib.sha256(source.encode()).hexdigest()[:12]
    return digests


def _read_file(name: str) -> str:
    """Reads a module without its ``get_config``, whose values are compared one by one."""
    source = inspect.getsource(importlib.import_module(name))
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef) and node.name == 'get_config':
            del lines[node.lineno - 1 : node.end_lineno]
    return '\n'.join(lines)


def _list_functions(home: str) -> str:
    if home == 'optax':
        return "Optax's, such as 'adamw' or 'optax.contrib.muon'"
    module = importlib.import_module(home)
    return ', '.join(
        repr(name)
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__.startswith(home)
        and not name.startswith('_')
    )


def _has_type(value: Any, annotation: Any) -> bool:
    # isinstance(True, int) holds, yet True is no sensible seed or size.
    if _holds_bool(value) and not _allows_bool(annotation):
        return False
    if annotation is inspect.Parameter.empty:  # in a user's own function
        return True
    every_item = typeguard.CollectionCheckStrategy.ALL_ITEMS
    try:
        typeguard.check_type(value, annotation, collection_check_strategy=every_item)
    except typeguard.TypeCheckError:
        return False
    return True


def _holds_bool(value: Any) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, tuple | list) and any(map(_holds_bool, value))
    )


def _allows_bool(annotation: Any) -> bool:
    """Tells whether an annotation names booleans, or does not say what a value is."""
    kinds = get_args(annotation)
    if not kinds:
        return annotation in (bool, Any, object, inspect.Parameter.empty, tuple, list)
    # JAX's ArrayLike names them among its numbers, where none is meant.
    return np.bool_ not in kinds and any(
        isinstance(kind, bool) or _allows_bool(kind) for kind in kinds
    )


def _as_float(value: Any, annotation: Any) -> Any:
    """Converts an integer where a float is wanted, as in ``learning_rate=1``."""
    kinds = annotation, *get_args(annotation)
    if type(value) is int and float in kinds and int not in kinds:
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
    if get_origin(annotation) in (Union, UnionType):
        # A config holds no arrays.
        kinds = [of for of in get_args(annotation) if not _is_array(of)]
        if not _allows_bool(annotation):
            kinds = [of for of in kinds if of is not bool]
        return ' | '.join(map(_name, kinds))
    return _name(annotation)


def _name(annotation: Any) -> str:
    if annotation is type(None):
        return 'None'
    return str(annotation) if get_args(annotation) else annotation.__name__


def _is_array(annotation: Any) -> bool:
    home = str(getattr(annotation, '__module__', '')).partition('.')[0]
    return home in ('jax', 'jaxlib', 'jaxtyping', 'numpy')
