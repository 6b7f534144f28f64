"""Ctrl-C and SIGTERM, put off until what has been trained is saved."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Training was left because of a signal; the message says what was saved."""

    def __init__(self, signal_number: int, saved_in: pathlib.Path | None):
        saved = f'saved in {saved_in}' if saved_in else 'what was saved before is whole'
        super().__init__(f'{saved}; the same command goes on from there')
        self.signal_number = signal_number


@dataclasses.dataclass
class Pending:
    """The signal that has come, and where the run is saved."""

    signal_number: int = 0  # none
    saved_in: pathlib.Path | None = None


@contextlib.contextmanager
def put_off() -> Iterator[Pending]:
    """Notes the first Ctrl-C or SIGTERM instead of ending the process.

    The second one does what it would have done before.

    Raises:
      Interrupted: At the end, if a signal has come.
    """
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending  # Python lets only the main thread handle signals
        return
    previous = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def put_back() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        put_back()
        pending.signal_number = number
        # Not by print, which cannot be entered again if it is what was interrupted. On a
        # terminal the line of the progress bar is ended first.
        start = b'\n' if sys.stderr.isatty() else b''
        with contextlib.suppress(OSError):
            os.write(2, start + b'saving the run; once more leaves at once\n')

    for number in previous:
        signal.signal(number, note)
    try:
        yield pending
    finally:
        put_back()
    if pending.signal_number:
        raise Interrupted(pending.signal_number, pending.saved_in)
