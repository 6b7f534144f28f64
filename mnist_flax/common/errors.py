"""What a user can get wrong, said in one line."""

import pathlib
import sysconfig
import traceback
from collections.abc import Callable
from typing import Any

# Of a user's mistake, the frames in these folders are not the place to mend it.
_OURS = pathlib.Path(__file__).parents[1]
_LIBRARIES = [_OURS, *map(pathlib.Path, {*map(sysconfig.get_path, ('stdlib', 'purelib'))})]

_LONGEST = 2000  # characters of a message


class UserError(Exception):
    """A mistake that the user can correct; the message is one line."""

    def __init__(self, message: str):
        line = to_line(' '.join(message.split()))
        # A file from elsewhere may have put a book in the place of a name.
        super().__init__(line if len(line) <= _LONGEST else f'{line[:_LONGEST]} ...')


def to_line(text: str) -> str:
    """Writes out what a terminal would not print, such as line ends in a file's name."""
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def require(condition: bool, message: str) -> None:
    """Raises `UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)


def explain(error: Exception) -> str:
    """Says what a user's function raised, and at which line of which file."""
    message = ' '.join(str(error).split())
    message = message if len(message) <= 300 else f'{message[:300]}...'
    what = f'{type(error).__name__}: {message}'
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = pathlib.Path(frame.filename)
        in_library = any(path.is_relative_to(folder) for folder in _LIBRARIES)
        if path.is_file() and not in_library:
            return f'{_shorten(path)}, line {frame.lineno}: {what}'
    return what


def locate(function: Callable[..., Any]) -> str:
    """Names a function with its file and line: ``focal (configs/focal.py, line 7)``.

    Of what is not written in Python it is the name alone.
    """
    name = getattr(function, '__name__', type(function).__name__)
    code = getattr(function, '__code__', None)
    if code is None:
        return name
    path = _shorten(pathlib.Path(code.co_filename))
    return f'{name} ({path}, line {code.co_firstlineno})'


def _shorten(path: pathlib.Path) -> str:
    try:
        return str(path.relative_to(pathlib.Path.cwd()))
    except (OSError, ValueError):
        return str(path)
