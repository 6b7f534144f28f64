"""Runs a command of this project so that a user's mistake ends in one line."""

import ast
import contextlib
import functools
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from mnist_flax.common import (
    addresses,
    command_lines,
    configs,
    new_fields,
    process_flags,
    renamed,
    streams,
    surroundings,
)
from mnist_flax.common.errors import UserError
from mnist_flax.common.framings import FRAMINGS
from mnist_flax.common.interrupts import Interrupted

_ENDS: dict[int, str] = {signal.SIGINT: 'interrupted', signal.SIGTERM: 'terminated'}

_DEFAULT: list[str] = []  # the config file that a command takes without --config
_TYPED: list[str] = []  # the command line, if it has been put into another order

_NEW_FIELDS: dict[str, Any] = {}  # of the command line, see `new_fields`

streams.prepare()  # before anything is printed, such as an error in a flag
flags.disclaim_key_flags()  # so that --help counts --config among the command's own flags


def define_config(default: str) -> None:
    """Defines the flag ``--config``, whose fields are set as ``--config.field=value``."""
    configs.extend_path()
    # ml_collections imports the file by a method that Python is about to remove.
    config_flags.config_flags._load_source = configs.load_source
    _DEFAULT.append(default)
    _TYPED[:] = sys.argv
    sys.argv = command_lines.arrange(sys.argv)
    # A default makes ml_collections parse the command line already here.
    with _flag_errors_in_one_line(default):
        if any(argument.lstrip('-').startswith('config.') for argument in sys.argv):
            config = configs.load_config(_config_path(configs.find(default)))
            sys.argv, new = new_fields.take(sys.argv, config)
            _NEW_FIELDS.update(new)
        config_flags.DEFINE_config_file(
            'config',
            configs.find(default),
            'Python file with the settings. Each of its fields can be set on the command '
            'line too, such as --config.num_epochs=3 or '
            '--config.optimizer.learning_rate=3e-4; the file lists them, each with its '
            'meaning.',
            lock_config=True,
        )


def define_network() -> None:
    """Defines the flags that say which trained network to take."""
    flags.DEFINE_string(
        'workdir',
        '',
        'Folder of a finished run, such as outputs. If empty, the networks that come with '
        'the project, trained for the handwriting of strangers (configs/robust.py).',
    )
    flags.DEFINE_string(
        'constructor',
        '',
        "The function that makes the run's network, as in config.model.constructor, if it "
        'is one of your own.',
    )


def define_framing() -> None:
    """Defines the flag that says how a picture becomes the input of a network."""
    flags.DEFINE_enum(
        'framing',
        None,
        FRAMINGS,
        "How a picture becomes the network's input: the digit in it, cut out and given "
        "MNIST's format (mnist); or all of it, padded with the colour of its edge to the "
        "network's proportions (pad), or stretched (stretch). Without this flag as the "
        'pictures were that the network was trained on.',
    )


def run(main: Callable[..., object], arguments: str = '') -> None:
    """Parses the flags, calls ``main`` and exits.

    With ``arguments``, such as 'IMAGE', one or more must follow the flags, and ``main``
    gets their list.

    The exit status is 0; 1 after a `UserError` or an `OSError`; 2 for flags or a config
    file that cannot be read; 130 (128 + SIGINT, as shells have it) after Ctrl-C, 143 after
    SIGTERM.
    """
    surroundings.prepare()
    sys.unraisablehook = _show_unraisable
    # Not by KeyboardInterrupt: raised while JAX is imported it is swallowed or crashes.
    for number in _ENDS:
        signal.signal(number, _exit_at_once)
    configs.extend_path()
    if 'config' in flags.FLAGS:  # what trains goes on when nobody reads what it prints
        streams.outlive_readers()
    try:
        surroundings.check_address_space()
        app.run(
            (lambda argv: main(argv[1:])) if arguments else (lambda argv: main()),
            flags_parser=functools.partial(_parse_flags, arguments=arguments),
        )
    except Interrupted as error:
        number = error.signal_number
        _fail(f'{_ENDS[number]}; {error}', 128 + number)
    except (UserError, OSError) as error:  # such as a standard output on a full disk
        if isinstance(error, BrokenPipeError) and 'config' not in flags.FLAGS:
            os._exit(141)  # nobody reads what it prints: as SIGPIPE ends other programs
        _fail(str(error), 1)
    except Exception as error:
        if not (isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)):
            raise
        _fail(
            f'the memory does not suffice ({type(error).__name__}: {error}); use fewer or '
            'smaller images, a smaller batch, fewer runs at once, or more memory',
            1,
        )


def _parse_flags(argv: list[str], arguments: str) -> list[str]:
    has_config = 'config' in flags.FLAGS
    with _flag_errors_in_one_line(_DEFAULT[-1] if has_config else ''):
        command_lines.check_values(_TYPED or argv)
        argv = flags.FLAGS(argv)
        positional = argv[1:]
        if arguments and not positional:
            raise flags.Error(f'no {arguments} is given; give one or more, see --help')
        if positional and not arguments:
            raise flags.Error(
                f'unexpected argument {positional[0]!r}; flags begin with --, such as '
                '--config.seed=1 or --help'
            )
        config = flags.FLAGS.config if has_config else None
        if has_config and not isinstance(config, ml_collections.ConfigDict):
            raise TypeError(
                f'get_config() returned {type(config).__name__}, not a ConfigDict'
            )
        if _NEW_FIELDS:
            new_fields.add(config, _NEW_FIELDS)
    # Before anything is loaded or trained for a bucket.
    found = {f'--{name}': of for name, of in flags.FLAGS.flag_values_dict().items()}
    try:
        process_flags.check(flags.FLAGS)
        addresses.require_local_paths({**found, f'the argument {arguments}': positional})
    except UserError as error:
        _fail(str(error), 2)
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.WARNING)  # libraries' INFO lines would bury ours
    return argv


@contextlib.contextmanager
def _flag_errors_in_one_line(default_config: str) -> Iterator[None]:
    try:
        yield
    except flags.Error as error:
        # ml_collections puts the traceback of a config file's ValueError in the message.
        message = str(error)
        _fail(message.splitlines()[-1] if 'Traceback' in message else message, 2)
    except Exception as error:  # a config file is code: it can raise anything
        path = _config_path(default_config)
        if not pathlib.Path(path).is_file():
            _fail(f'--config: there is no file {path!r}', 2)
        _fail(_explain_config_error(path, error), 2)


def _config_path(default: str) -> str:
    given = [word for word in sys.argv if word.startswith('--config=')]
    return given[-1].removeprefix('--config=') if given else default


def _explain_config_error(path: str, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f'{path}, line {error.lineno}: {error.msg}'
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if pathlib.Path(frame.filename).absolute() == pathlib.Path(path).absolute():
            return f'{path}, line {frame.lineno}: {type(error).__name__}: {error}'
    cause = error.args[0] if error.args else None
    if isinstance(error, AttributeError) and isinstance(cause, KeyError):
        # ml_collections wraps "'sed'\nDid you mean "seed" instead of "sed"?" in both.
        quoted, _, suggestion = str(cause.args[0]).partition('\n')
        field, missing_from = quoted.strip("'"), 'config'
        for argument in sys.argv:  # which says in what part of the config it is not
            name = argument.partition('=')[0].removeprefix('--')
            if name.startswith('config.') and field in name.split('.'):
                before, _, _ = name.partition(f'.{field}')
                if successor := renamed.FIELDS.get(f'{before}.{field}'):
                    return f'{before}.{field} has been replaced by {successor}'
                quoted, missing_from = f"'{field}'", before
                break
        return (
            f'{missing_from} has no field {quoted}; {suggestion} see the fields in {path}'
        )
    if isinstance(cause, KeyError) or isinstance(error, KeyError):
        # The same of a part of the config that holds others.
        words = ast.literal_eval(str(error)) if isinstance(error, KeyError) else str(cause)
        quoted, _, suggestion = str(words).partition('\n')
        return f'config has no field {quoted}; {suggestion} see the fields in {path}'
    return f'--config: {error}; see the fields in {path}'


def _show_unraisable(unraisable: Any) -> None:
    if str(unraisable.exc_value) != 'Event loop is closed':
        sys.__unraisablehook__(unraisable)


def _exit_at_once(signal_number: int, frame: FrameType | None) -> NoReturn:
    # On a terminal the line of the progress bar is ended first. Not by print, which
    # cannot be entered again if it is what was interrupted.
    start = '\n' if sys.stderr.isatty() else ''
    message = f'{start}error: {_ENDS[signal_number]}\n'
    with contextlib.suppress(OSError):
        os.write(2, message.encode())
    # An ordinary exit would wait for, or crash in, whatever XLA's threads are doing.
    os._exit(128 + signal_number)


def _fail(message: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    print(f'error: {" ".join(message.split())}', file=sys.stderr, flush=True)
    # An ordinary exit would wait for other hosts, which wait for this one, and have the
    # threads of TensorStore print tracebacks.
    os._exit(status)
