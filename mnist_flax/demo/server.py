"""The demo on a socket: ready when its address is printed, and patient with nobody."""

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import socket
from collections.abc import Iterator

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from mnist_flax.common.errors import UserError

# For the head of a request, from the opening of a connection or the last answer on it.
_HEAD_SECONDS = 10

# At once; each may hold 64 KiB of an upload that is not counted. Beyond, connections are
# closed at once: where files run out, asyncio logs without end.
_MOST_CONNECTIONS = 1000

_M_MMAP_THRESHOLD = -3  # in malloc.h


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket, on which connections wait until `serve` answers them.

    Args:
      host: Name or address of this machine.
      port: Its port; some free one if 0.

    Raises:
      UserError: The port is in use, or the machine has not this address.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
        # The connections inherit it. asyncio itself sets it only where a socket names its
        # protocol, and without it each answer's second part waits 40 ms for an
        # acknowledgement of the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, UnicodeError) as error:  # no name of a host
        number = getattr(error, 'errno', None) or 0
        reason = os.strerror(number) if number > 0 else error
        raise UserError(
            f'--host and --port: cannot listen at {host}:{port} ({reason}); allowed: an '
            'address of this machine, and a port that no other program uses, such as '
            '--port=0 for any'
        ) from error


def serve(app: Starlette, listening: socket.socket) -> None:
    """Prints the address and answers until a signal ends the process."""
    _return_memory()
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
        backlog=64,
    )
    print(f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}', flush=True)
    _Server(config).run([listening])


def _return_memory() -> None:
    """Has the C library give large blocks back to the system when they are freed.

    By default it keeps those of each thread for that thread: of large pictures at once
    1.3 GiB were left, and 0.9 are with this.
    """
    with contextlib.suppress(AttributeError):  # another library than glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2 * 2**20)


def _most_connections() -> int:
    """Leaves files for everything else where the system allows few."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_CONNECTIONS, allowed // 2)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `cli.run`: Ctrl-C ends at once, as in other commands."""
        yield


class _Protocol(H11Protocol):
    """HTTP on one connection, which is closed if no request comes, or it only drips.

    uvicorn itself waits for ever, and the connections of a process are limited.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > _most_connections():
            transport.abort()

    def pause_writing(self) -> None:
        """Waits a while for a client that does not read its answers."""
        super().pause_writing()
        self._stuck = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Says in JSON what is no HTTP, as all other errors are said."""
        content = json.dumps({'error': f'request: found no HTTP ({msg}); allowed: HTTP'})
        headers = [
            (b'content-type', b'application/json'),
            (b'content-length', str(len(content)).encode()),
            (b'connection', b'close'),
        ]
        with contextlib.suppress(h11.ProtocolError):
            response = h11.Response(status_code=400, headers=headers)
            self.transport.write(self.conn.send(response) or b'')
            self.transport.write(self.conn.send(h11.Data(content.encode())) or b'')
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b'')
        self.transport.close()

    def on_response_complete(self) -> None:
        self._await_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_HEAD_SECONDS, self._close, self.cycle)

    def _close(self, last_cycle: object) -> None:
        if self.cycle is last_cycle:  # none has begun since
            self.transport.abort()
