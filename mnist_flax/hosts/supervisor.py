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

from mnist_flax.hosts.links import Link
from mnist_flax.hosts.partners import ADVICE, GoneError, Partners

# The exit status of a training process that has lost the others (sysexits.h: EX_TEMPFAIL).
LOST = 75

# When another process has ended with an error, this one may be about to tell the same.
_GRACE = 3.0

_PR_SET_PDEATHSIG = 1  # in prctl.h

# What XLA and gRPC write of an error, and what follows it, is kept from the user.
_CRASH = re.compile(rb'^(?:[EF]\d{4} [\d:.]+ .*|Fatal Python error)', re.MULTILINE)

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
    if not hasattr(os, 'fork'):  # Windows
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
    pid = os.fork()
    if pid:
        theirs.close()
        os.close(write_end)
        _Supervisor(pid, Link(ours), read_end, partners).watch()
    ours.close()
    os.close(read_end)
    with contextlib.suppress(AttributeError):  # on Linux: it does not outlive this process
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # What Python writes goes where it did, and what libraries write to the supervisor.
    sys.stderr = os.fdopen(os.dup(2), 'w', buffering=1)
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
    if kind.__name__ == 'JaxRuntimeError':  # of a shared operation, if another has gone
        os.write(2, f'E0000 0: {error}\n'.encode())
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
        self._held = b''  # of what libraries wrote, from the first crash on
        self._partners = partners
        self._runs = True  # whether the child does
        self._selector = selectors.DefaultSelector()
        self._selector.register(child, selectors.EVENT_READ, self._hear_child)
        self._selector.register(errors, selectors.EVENT_READ, self._pass_on_errors)

    def watch(self) -> NoReturn:
        """Watches until the child has ended, and ends as it did.

        If that is because others have gone, the exit status is 1, and one line says why.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._forward)
        status, reason = self._watch()
        if self._partners:
            ended = f'process {self._partners.process_id} has ended with status {status}'
            self._partners.leave((reason or ended) if status else '')
        if reason:
            print(f'error: {" ".join(reason.split())}', file=sys.stderr, flush=True)
        os._exit(status)

    def _watch(self) -> tuple[int, str]:
        """Returns an exit status, and the reason if it is this process that ends all."""
        try:
            if self._partners:
                self._partners.start(self._selector)
            while self._runs:
                self._hear()
                if self._partners and self._partners.wait():
                    self._child.send(go=True)
        except GoneError as error:
            end = time.monotonic() + (_GRACE if error.orderly else 0)
            while self._runs and time.monotonic() < end:
                with contextlib.suppress(GoneError):
                    self._hear()
            status = self._end_child()
            own = error.orderly and status in range(1, LOST)
            return (status, '') if own else (1, str(error))
        status = self._end_child()
        if status == LOST or status < 0:
            try:  # the others may tell why
                end = time.monotonic() + _GRACE
                while self._partners and time.monotonic() < end:
                    self._hear()
            except GoneError as error:
                return 1, str(error)
            return 1, self._explain(status)
        sys.stderr.buffer.write(self._held)
        return status, ''

    def _hear(self) -> None:
        for key, _ in self._selector.select(timeout=0.2):
            key.data()

    def _hear_child(self) -> None:
        messages = self._child.receive()
        if messages is None:
            self._runs = False
            self._selector.unregister(self._child)
        elif messages and self._partners:
            self._partners.meet()
        elif messages:
            self._child.send(go=True)

    def _pass_on_errors(self) -> None:
        written = os.read(self._errors, 65_536)
        if not written:
            self._selector.unregister(self._errors)
        crash = _CRASH.search(written)
        start = 0 if self._held else crash.start() if crash else len(written)
        sys.stderr.buffer.write(written[:start])
        sys.stderr.flush()
        self._held += written[start:]

    def _forward(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def _end_child(self) -> int:
        """Ends the child if it runs; returns its exit status, or minus its signal."""
        if self._runs:
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        while self._errors in self._selector.get_map():
            self._pass_on_errors()
        return os.waitstatus_to_exitcode(status)

    def _explain(self, status: int) -> str:
        if status == LOST or b'distributed service' in self._held:
            return (
                'other processes of this run have gone, or did not come in time '
                f'(--host_timeout); {ADVICE}'
            )
        crash = _CRASH.search(self._held)
        said = f' ({crash[0].decode(errors="replace")[:300]})' if crash else ''
        return f'this process was ended by {signal.Signals(-status).name}{said}; {ADVICE}'
