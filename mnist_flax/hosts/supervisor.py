"""A process beside each training process, which meets those of the other hosts.

Where a host is lost, JAX ends the processes of all others from inside, with pages of
messages, or leaves them waiting. So each training process is the child of one that is not
busy with JAX: it says who is waited for, ends the training when another host has gone, and
says why in one line.
"""

import contextlib
import ctypes
import os
import re
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, NoReturn

import ml_collections

from mnist_flax.common import streams
from mnist_flax.hosts.links import Link
from mnist_flax.hosts.partners import ADVICE, GoneError, Partners

# The exit status of a training process that has lost the others (sysexits.h: EX_TEMPFAIL).
LOST = 75

# When another process has ended with an error, this one may be about to tell the same.
_GRACE = 3.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PR_SET_PDEATHSIG = 1  # in prctl.h

# What libraries write when they end the process, of which the user gets one line.
_CRASH = re.compile(rb'F\d{4} |E\d{4} .*coordination|Fatal Python error')
_MOST_HELD = 2**16  # bytes

# What JAX says where a shared operation fails because another process has gone.
_CONNECTION = re.compile('gloo|nccl|connection|coordination|UNAVAILABLE|DEADLINE', re.I)

# Of a training process: the link to its supervisor.
_link: Link | None = None


def meet() -> None:
    """Waits, in a training process, until those of all hosts have called it as often.

    It returns at once in a process without a supervisor.
    """
    if _link is None:
        return
    _link.send(meet=True)
    while not (messages := _link.receive()):
        if messages is None:
            os._exit(LOST)


def supervise(
    config: ml_collections.ConfigDict,
    coordinator_address: str | None,
    num_processes: int | None,
    process_id: int | None,
    seconds: int,
) -> None:
    """Continues in a child, which this process watches until it ends.

    It has to be called before threads are started, as JAX's are. Where the system has no
    `os.fork`, it does nothing.

    Args:
      config: The settings, which have to be the same for all processes.
      coordinator_address: As in `joining.join_hosts`, as all below. If it is None, this
        process knows no others, and only explains in one line how its own has ended.
      num_processes: How many processes there are.
      process_id: Number of this one.
      seconds: How long to wait for the others.

    Raises:
      UserError: The address is none.
    """
    global _link
    if not hasattr(os, 'fork') or num_processes == 1:  # Windows has none
        return
    partners = None
    if coordinator_address and num_processes and process_id is not None:
        settings = {path: repr(of) for path, of in _flatten(config.to_dict(), 'config')}
        partners = Partners(
            coordinator_address, num_processes, process_id, settings, seconds
        )
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        os.close(write_end)
        os.set_blocking(read_end, False)
        _Supervisor(pid, Link(ours), read_end, partners).watch()
    ours.close()
    os.close(read_end)
    os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which passes it on
    with contextlib.suppress(AttributeError):  # on Linux it does not outlive its parent
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(LOST)
    # What Python writes goes where it did, and what libraries write to the supervisor.
    sys.stderr = streams.outlive(sys.stderr, os.dup(2))
    os.dup2(write_end, 2)
    sys.excepthook = _end
    _link = Link(theirs)


def _flatten(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f'{path}.{name}')
        elif name != 'data_dir':  # which may be another one on each host
            yield f'{path}.{name}', value


def _end(kind: type, error: BaseException, trace: TracebackType | None) -> NoReturn:
    """Ends a training process after an error, at once: JAX would wait for the others."""
    if kind.__name__ == 'JaxRuntimeError' and _CONNECTION.search(str(error)):
        os._exit(LOST)
    sys.__excepthook__(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)


class _Supervisor:
    """Watches a training process, and those of the other hosts."""

    def __init__(self, pid: int, child: Link, errors: int, partners: Partners | None):
        self._pid = pid
        self._child = child
        self._errors = errors
        self._line = b''  # of what libraries write, the line that has begun
        self._held = b''  # what they wrote since the process began to crash
        self._partners = partners
        self._status: int | None = None  # how the child has ended
        self._selector = selectors.DefaultSelector()
        self._selector.register(child, selectors.EVENT_READ, self._hear_child)
        self._selector.register(errors, selectors.EVENT_READ, self._pass_on_errors)

    def watch(self) -> NoReturn:
        """Watches until the child has ended, and ends as it did.

        If that is because others have gone, the exit status is 1, and one line says why.
        """
        for number in _SIGNALS:
            signal.signal(number, self._forward)
        status, reason, for_others = self._watch()
        if self._partners:
            self._partners.leave(for_others)
        if reason:
            print(f'error: {" ".join(reason.split())}', file=sys.stderr, flush=True)
        os._exit(status)

    def _watch(self) -> tuple[int, str, str]:
        """Returns an exit status, an error to print, and what to tell the others."""
        try:
            if self._partners:
                self._partners.start(self._selector)
            while self._status is None:
                self._hear()
                if self._partners and self._partners.wait():
                    self._child.send(go=True)
        except GoneError as error:
            if error.orderly:  # the child may be about to say the same
                self._hear_for(_GRACE)
            status = self._end_child()
            has_said = error.orderly and status in range(1, LOST)
            return (status, '', str(error)) if has_said else (1, str(error), str(error))
        status = self._end_child()
        name = f'process {self._partners.process_id}' if self._partners else ''
        ended = f'{name} has ended with status {status}'
        if -status in _SIGNALS:  # a second one, which `interrupts` leaves to the system
            return 128 - status, '', ended
        if status != LOST and status >= 0:
            return status, '', ended if status else ''
        if found := self._hear_for(_GRACE):  # another one may tell why
            return 1, str(found), str(found)
        return 1, self._explain(status), f'{name} has ended; {ADVICE}'

    def _hear(self) -> None:
        """Waits for some tenths of a second, and takes in what has come.

        Raises:
          GoneError: Another process has ended.
        """
        for key, _ in self._selector.select(timeout=0.2):
            key.data()
        # Not by the end of what it writes: a process that it has started may write there.
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None

    def _hear_for(self, seconds: float) -> GoneError | None:
        """Goes on for some seconds, or until the child and another one have ended."""
        found, had_ended = None, self._status is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end and (had_ended or self._status is None):
            try:
                self._hear()
            except GoneError as error:
                found = error
                if had_ended:
                    break
        return found

    def _hear_child(self) -> None:
        messages = self._child.receive()
        if messages is None:
            self._selector.unregister(self._child)
        elif messages and self._partners:
            self._partners.meet()
        elif messages:
            self._child.send(go=True)

    def _pass_on_errors(self) -> None:
        """Passes on what libraries write, until the process begins to crash."""
        try:
            written = os.read(self._errors, 65_536)
        except BlockingIOError:
            return
        if not written:
            self._selector.unregister(self._errors)
        *lines, self._line = (self._line + written).split(b'\n')
        lines += [] if written or not self._line else [self._line]
        for line in lines:
            if self._held or _CRASH.match(line):
                self._held = (self._held + line + b'\n')[:_MOST_HELD]
            else:
                sys.stderr.buffer.write(line + b'\n')
        sys.stderr.flush()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def _end_child(self) -> int:
        """Ends the child if it runs; returns its exit status, or minus its signal."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(GoneError):
            self._hear()  # what it has written last
        return self._status

    def _explain(self, status: int) -> str:
        if status == LOST or b'distributed service' in self._held:
            return (
                'other processes of this run have gone, or did not come in time '
                f'(--host_timeout); {ADVICE}'
            )
        said = self._held.partition(b'\n')[0].decode(errors='replace')[:300]
        said = f' ({said})' if said else ''
        return f'this process was ended by {signal.Signals(-status).name}{said}; {ADVICE}'
