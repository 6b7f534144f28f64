"""Connections on which processes send each other messages, each a line of JSON."""

import contextlib
import json
import socket
from typing import Any

# A host that has lost its power or network does not say so. After 10 seconds without a sign
# of life the system asks it three times, and after 40 it is taken for gone.
_KEEPALIVE = {
    'TCP_KEEPIDLE': 10,
    'TCP_KEEPINTVL': 10,
    'TCP_KEEPCNT': 3,
    'TCP_USER_TIMEOUT': 40_000,  # milliseconds
}


class Link:
    """A connection to another process."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._rest = b''
        connection.settimeout(10)  # a few bytes that cannot be sent so long never will be
        if connection.family == socket.AF_UNIX:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def fileno(self) -> int:
        """Says its number to `selectors`."""
        return self._connection.fileno()

    def send(self, **message: Any) -> None:
        """Sends a message; not if the other process has gone, which `receive` finds."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b'\n')

    def receive(self) -> list[dict[str, Any]] | None:
        """Returns the messages that have come, or None if the other process has gone."""
        try:
            received = self._connection.recv(65_536)
        except TimeoutError:
            return []
        except OSError:
            return None
        if not received:
            return None
        *lines, self._rest = (self._rest + received).split(b'\n')
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:  # another program
            return None
        return [message for message in messages if isinstance(message, dict)]

    def close(self) -> None:
        """Closes it."""
        self._connection.close()
