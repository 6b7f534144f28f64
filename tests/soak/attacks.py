"""Attacks the demo and the loading of networks, and tabulates how many were survived.

Pictures that are made to harm, while another client draws; pictures and requests that are
changed at random; and networks from elsewhere that were tampered with, with checksums that
fit. docs/reliability.md shows the table.
"""

import argparse
import contextlib
import http.client
import io
import pathlib
import random
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
from PIL import Image

from mnist_flax.common.errors import UserError
from mnist_flax.recognition import decoding, workers

sys.path.append(str(pathlib.Path(__file__).parents[1]))
sys.path.append(str(pathlib.Path(__file__).parents[1] / 'demo'))

import hostile_pictures
import tampering
from demo_process import serve
from hostile_pictures import DRAWING, change

_MOST_MEMORY = 2**30  # bytes, of one process
_MOST_SECONDS = 15.0  # for an answer to an attack: its limit, and the start of a process


def main() -> None:
    """Attacks; the exit status is 1 if an attack did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=3, help='of the hostile pictures')
    parser.add_argument('--pictures', type=int, default=1000, help='changed at random')
    parser.add_argument('--requests', type=int, default=1000, help='changed at random')
    parser.add_argument('--models', type=int, default=100, help='tampered with')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--patience', type=int, default=1, help='more on a busy machine')
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    rows = [_run('pictures changed at random', arguments.pictures, _attack_decoder, rng)]
    with _demo() as demo:
        for name, content in hostile_pictures.make().items() if arguments.rounds else ():
            rows.append(
                _attack_beside_a_client(
                    demo, name, content, arguments.rounds, arguments.patience
                )
            )
        attack = _Requests(demo)
        rows.append(_run('requests changed at random', arguments.requests, attack, rng))
    rows.append(
        _run('models tampered with', arguments.models, tampering.attack_loader, rng)
    )
    print('\n| what happened | tried | passed | |', '|---|---|---|---|', sep='\n')
    for name, tried, passed, note in rows:
        print(f'| {name} | {tried} | {passed} | {note} |')
    sys.exit(any(tried != passed for _, tried, passed, _ in rows))


def _run(
    name: str, number: int, attack: Callable[[random.Random], None], rng: random.Random
) -> tuple[str, int, int, str]:
    passed, slowest = 0, 0.0
    for i in range(number):
        start = time.monotonic()
        try:
            attack(rng)
            passed += 1
        except Exception as error:
            print(f'{name}, number {i}: {type(error).__name__}: {error}', flush=True)
        slowest = max(slowest, time.monotonic() - start)
    return name, number, passed, f'the slowest {slowest:.1f} s'


def _attack_decoder(rng: random.Random) -> None:
    """A picture is read or refused in one line, within the limits."""
    side = rng.choice([8, 24, 100, 700])
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, rng.choice(decoding.FORMATS))
    try:
        workers.decode(change(buffer.getvalue(), rng), 'it')
    except UserError as error:
        assert str(error).startswith('it: '), error
        assert str(error).isprintable(), error


class _Demo:
    """The demo as a process, what it answers, and what it takes."""

    def __init__(self, port: int, pid: int):
        self.port = port
        self.pid = pid

    def post(self, content: bytes) -> int:
        """Sends a picture; returns the status of the answer."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request('POST', '/predict', content)
            response = connection.getresponse()
            response.read()
            return response.status

    def peaks(self) -> list[int]:
        """Lists the most memory, in bytes, that the demo and its processes have had."""
        children = pathlib.Path(f'/proc/{self.pid}/task').glob('*/children')
        pids = [
            self.pid,
            *(int(pid) for path in children for pid in path.read_text().split()),
        ]
        peaks = []
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, IndexError):  # it has ended
                status = pathlib.Path(f'/proc/{pid}/status').read_text()
                peaks.append(int(re.findall(r'VmHWM:\s+(\d+) kB', status)[0]) * 1024)
        return peaks


@contextlib.contextmanager
def _demo() -> Iterator[_Demo]:
    with serve() as server:  # which must not have printed anything in the end
        yield _Demo(server.port, server.process.pid)


def _attack_beside_a_client(
    demo: _Demo, name: str, content: bytes, rounds: int, patience: int
) -> tuple[str, int, int, str]:
    """Sends a hostile picture some times; beside it another client draws."""
    waits: list[float] = []
    peak, passed, status = 0, 0, 0
    with futures.ThreadPoolExecutor() as pool:
        for _ in range(rounds):
            begin, seconds = time.monotonic(), 0.0
            attack = pool.submit(demo.post, content)
            most = len(waits) + 40
            while not attack.done() or len(waits) < most:
                start = time.monotonic()
                assert demo.post(DRAWING) == 200
                end = time.monotonic()
                waits.append(end - start)
                seconds = seconds if attack.done() else end - begin
                peak = max([peak, *demo.peaks()])
            status = attack.result()
            passed += status in (200, 413, 415, 422) and seconds <= _MOST_SECONDS * patience
    p99 = statistics.quantiles(waits, n=100)[98]
    note = (
        f'{status}; drawings beside it {1000 * statistics.median(waits):.0f} ms, '
        f'99th percentile {1000 * p99:.0f} ms; up to {peak / 2**20:.0f} MiB'
    )
    passed = passed if p99 <= patience and peak <= _MOST_MEMORY else 0
    print(name, rounds, passed, note, sep=' | ', flush=True)
    return name, rounds, passed, note


class _Requests:
    """Requests that are changed at random: each is answered or cut off, and others too."""

    def __init__(self, demo: _Demo):
        self._demo = demo
        head = b'POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
        form = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="7.png"\r\n\r\n'
            + DRAWING
            + b'\r\n--x--\r\n'
        )
        kind = b'Content-Type: multipart/form-data; charset=utf-8; boundary=x\r\n'
        self._requests = (
            head + b'Content-Length: %d\r\n\r\n' % len(DRAWING) + DRAWING,
            head + kind + b'Content-Length: %d\r\n\r\n' % len(form) + form,
            head + b'Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n',
            b'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
            b'GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n' * 2,
            head + b'Origin: http://localhost\r\nExpect: 100-continue\r\n\r\n',
        )

    def __call__(self, rng: random.Random) -> None:
        whole = rng.choice(self._requests)
        # Most of it in the head, of which more depends.
        head, _, body = whole.partition(b'\r\n\r\n')
        sent = change(head, rng) + b'\r\n\r\n' + body
        sent = change(sent, rng, 2) if rng.random() < 0.5 else sent
        with socket.create_connection(('127.0.0.1', self._demo.port), timeout=60) as client:
            with contextlib.suppress(OSError):  # it has been cut off
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
            answer = b''
            with contextlib.suppress(ConnectionError):
                while part := client.recv(100_000):
                    answer += part
        assert answer == b'' or answer.startswith(b'HTTP/1.'), answer[:200]
        assert not re.match(rb'HTTP/1.\d 50[0-24-9]', answer), (sent, answer[:300])
        if rng.random() < 0.1:
            assert self._demo.post(DRAWING) == 200
            assert max(self._demo.peaks()) <= _MOST_MEMORY


if __name__ == '__main__':
    main()
