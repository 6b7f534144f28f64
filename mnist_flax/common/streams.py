"""Standard output and error that no shell, terminal or pipe can break."""

import codecs
import io
import os
import sys
from typing import Any

# What the tables and messages of a command have beside ASCII, and what stands for it.
_PLAIN = {
    **dict.fromkeys('─━═', '-'), **dict.fromkeys('│┃║', '|'),
    **dict.fromkeys('┌┐└┘├┤┬┴┼┏┓┗┛┣┫┳┻╋┡┩╇╈', '+'), '…': '...', '±': '+-', '×': 'x',
}  # fmt: skip


def prepare() -> None:
    """Opens what the shell has closed, and prints what the terminal's encoding lacks."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise a file gets this number, and the messages of libraries.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, 'w' if number else 'r', closefd=False))
    codecs.register_error('plain', _to_plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='plain')


def _to_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    plain = [
        _PLAIN.get(of) or of.encode('ascii', 'backslashreplace').decode()
        for of in characters
    ]
    return ''.join(plain), error.end


def outlive_readers() -> None:
    """Has what is printed go nowhere once nobody reads it, as after ``| head``."""
    sys.stdout = outlive(sys.stdout)
    sys.stderr = outlive(sys.stderr)


def outlive(stream: Any, number: int | None = None) -> Any:
    """Makes a stream like another one, but such as goes nowhere once nobody reads it.

    Args:
      stream: The other one; it is returned if it is a terminal, or nothing of the system's.
      number: The descriptor to write to; if None, that of ``stream``.
    """
    if not isinstance(stream, io.TextIOWrapper) or (number is None and stream.isatty()):
        return stream
    stream.flush()
    raw = _Outliving(stream.fileno() if number is None else number, 'wb', closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Outliving(io.FileIO):
    def write(self, content):
        try:
            return super().write(content)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(content)
