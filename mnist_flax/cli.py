"""Runs a command of this project so that a user's mistake ends in one line."""

import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from mnist_flax.checks import UserError


def define_config(default: str) -> None:
    """Defines the flag ``--config``, whose fields are set as ``--config.field=value``."""
    config_flags.DEFINE_config_file(
        'config',
        default,
        'Python file with the settings. Each of its fields can be set on the command line '
        'too, such as --config.num_epochs=3 or --config.optimizer.learning_rate=3e-4; the '
        'file lists them, each with its meaning.',
        lock_config=True,
    )


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls ``main`` and exits.

    The exit status is 0; 1 after a `UserError`; 2 for flags or a config file that cannot
    be read; 130 (128 + SIGINT, as shells have it) after Ctrl-C.
    """
    # The libraries' INFO lines would bury ours; --verbosity=0 brings them back.
    flags.FLAGS.set_default('verbosity', -1)
    try:
        app.run(lambda argv: main(), flags_parser=_parse_flags)
    except UserError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt as interrupt:
        _fail(f'interrupted {interrupt}', 130)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        positional = flags.FLAGS(argv)[1:]
    except flags.Error as error:
        # ml_collections puts the traceback of a config file's ValueError in the message.
        message = str(error)
        _fail(message.splitlines()[-1] if 'Traceback' in message else message, 2)
    except Exception as error:  # a config file is code: it can raise anything
        _fail(_explain_config_error(error), 2)
    if positional:
        _fail(
            f'unexpected argument {positional[0]!r}; allowed: flags, such as '
            '--config.seed=1 or --help',
            2,
        )
    if not isinstance(flags.FLAGS.config, ml_collections.ConfigDict):
        _fail(_explain_config_error(None), 2)
    return argv


def _explain_config_error(error: Exception | None) -> str:
    path = config_flags.get_config_filename(flags.FLAGS['config'])
    if not pathlib.Path(path).is_file():
        return f'--config: found {path!r}, which is no file; allowed: a config file'
    for frame in reversed(traceback.extract_tb(error and error.__traceback__)):
        if pathlib.Path(frame.filename).name == pathlib.Path(path).name:
            return f'{path}, line {frame.lineno}: {type(error).__name__}: {error}'
    if isinstance(error, SyntaxError):
        return f'{path}, line {error.lineno}: {error.msg}'
    if isinstance(error, AttributeError | KeyError):
        return f'config has no field {error}; allowed: the fields of {path}'
    if error is None:
        return f'--config: get_config() of {path} must return an ml_collections.ConfigDict'
    return f'--config: a field cannot be set ({error}); allowed: the fields of {path}'


def _fail(message: str, status: int) -> NoReturn:
    print(f'error: {" ".join(message.split())}', file=sys.stderr, flush=True)
    sys.exit(status)
