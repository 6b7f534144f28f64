"""Ctrl-C and SIGTERM, deferred until the training so far is saved."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A signal ended the training; the message says what was saved."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


@dataclasses.dataclass
class PendingSignal:
    """The signal that has arrived, and what was done about it."""

    signal_number: int = 0  # 0 = none
    message: str = ''


@contextlib.contextmanager
def defer_signals() -> Iterator[PendingSignal]:
    """Notes the first Ctrl-C or SIGTERM instead of ending the process.

    The second one ends it, even while XLA computes, which a handler in Python would wait
    for. Where Ctrl-C raises `KeyboardInterrupt`, as in notebooks, the second one does.

    Raises:
      Interrupted: At the end, if a signal has arrived.
    """
    pending = PendingSignal()
    if threading.current_thread() is not threading.main_thread():
        yield pending  # Python lets only the main thread handle signals
        return
    previous = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def note(number: int, frame: FrameType | None) -> None:
        for each, handler in previous.items():
            is_exception = handler is signal.default_int_handler
            signal.signal(each, handler if is_exception else signal.SIG_DFL)
        pending.signal_number = number
        # Not with print, which the signal may have interrupted and which then cannot be
        # called. On a terminal the line of the progress bar is ended first.
        start = b'\n' if sys.stderr.isatty() else b''
        with contextlib.suppress(OSError):
            os.write(2, start + b'saving the run; a second signal ends it at once\n')

    for number in previous:
        signal.signal(number, note)
    try:
        yield pending
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if pending.signal_number:
        raise Interrupted(pending.signal_number, pending.message)
