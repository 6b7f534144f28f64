"""The demo on a socket: uvicorn, with deadlines for slow clients."""

import asyncio
import contextlib
import ctypes
import logging
import os
import socket

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from mnist_flax.common.errors import UserError, require

# For the head of a request, from the opening of a connection or the last answer on it; its
# body has a limit in `app`.
_IDLE_SECONDS = 10

# More are closed as soon as they open. Half of the files that the system allows are left
# for everything else: where none are left, asyncio logs an error each second.
try:
    import resource
except ImportError:  # Windows, which has no such limit
    _MOST_CONNECTIONS = 1000
else:
    _MOST_CONNECTIONS = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

_M_MMAP_THRESHOLD = -3  # in malloc.h


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket, on which connections wait until `serve` answers them.

    Args:
      host: Name or address of this machine.
      port: Its port; some free one if 0.

    Raises:
      UserError: The port is in use, the machine has no such address, or it is empty.
    """
    require(
        bool(host),  # which would mean all addresses
        "--host: found ''; allowed: an address of this machine, or 0.0.0.0 for all of them",
    )
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:  # UnicodeError: not the name of a host
        number = getattr(error, 'errno', None) or 0
        reason = os.strerror(number) if number > 0 else error
        raise UserError(
            f'--host and --port: cannot listen at {host}:{port} ({reason}); use an address '
            'of this machine, and a port that no other program uses, or --port=0 for any'
        ) from error
    # The connections inherit it. asyncio sets it only for sockets that name their protocol,
    # and without it each answer's second part waits 40 ms for the client to acknowledge
    # the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve(app: Starlette, listening: socket.socket) -> None:
    """Prints the address and answers until a signal ends the process."""
    # Has the C library give large blocks back to the system when they are freed, instead of
    # keeping those of each thread for that thread: large pictures at once leave 0.9 GiB in
    # use, not 1.3.
    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2 * 2**20)
    # A line for each form that is broken would fill the disk.
    logging.getLogger('python_multipart').setLevel(logging.CRITICAL)
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        app,
        # The same on every machine, whatever else is installed on it.
        loop='asyncio',
        http=_Protocol,
        ws='none',
        lifespan='off',
        log_config=None,
        log_level='error',
        access_log=False,
        server_header=False,
    )
    print(f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}', flush=True)
    _Server(config).run([listening])


class _Server(uvicorn.Server):
    """Leaves the signals to `cli.run`: Ctrl-C ends at once, as in other commands."""

    capture_signals = contextlib.nullcontext  # type: ignore[assignment]


class _Protocol(H11Protocol):
    """HTTP on one connection, closed if no request comes or nobody reads its answer.

    uvicorn itself waits without end for slow clients, and a process can have only so many
    connections.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()

    def send_400_response(self, msg: str) -> None:
        # A part of a request may be broken after its answer, where uvicorn's own fails.
        with contextlib.suppress(h11.ProtocolError):
            super().send_400_response(msg)
        self.transport.close()

    def on_response_complete(self) -> None:
        self._start_timer()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(_IDLE_SECONDS, self._close_if_idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _close_if_idle(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        if is_answered or self.flow.write_paused:
            self.transport.abort()
        else:
            self._start_timer()
