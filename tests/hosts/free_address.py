"""An address for processes on this machine."""

import socket


def find_address():
    """Finds a free port of the loopback interface, as ``host:port``."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'127.0.0.1:{free.getsockname()[1]}'
