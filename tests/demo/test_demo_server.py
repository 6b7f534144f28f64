"""``scripts/demo.py`` as a process, under careless and hostile clients."""

import concurrent.futures
import contextlib
import http.client
import io
import json
import re
import resource
import signal
import socket
import time

import numpy as np
import pytest
from demo_process import num_files, peak_mebibytes, serve
from PIL import Image
from test_demo import to_file
from test_framing import draw

from mnist_flax.demo.app import app, server

DRAWING = to_file(draw(7, size=280))


def post(server, content, timeout=120):
    """Sends a picture on a connection of its own; returns status and answer."""
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=timeout)
    try:
        connection.request('POST', '/predict', content)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def is_served(server):
    status, answer = post(server, DRAWING)
    return (status, answer.get('prediction')) == (200, '7')


def open_raw(server, sent=b''):
    connection = socket.create_connection(('127.0.0.1', server.port), timeout=120)
    connection.sendall(sent)
    return connection


def read_all(connection):
    """Until the server closes: an answer may come in parts."""
    return b''.join(iter(lambda: connection.recv(10_000), b''))


def test_it_listens_on_this_machine_alone_and_serves_the_page(server):
    assert re.fullmatch(r'http://127\.0\.0\.1:\d+', server.url)
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60)
    connection.request('GET', '/')
    assert b'<canvas' in connection.getresponse().read()
    assert is_served(server)


@pytest.mark.parametrize(
    ('number', 'word'),
    [
        (signal.SIGINT, 'interrupted'),
        pytest.param(signal.SIGTERM, 'terminated', marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_it_at_once(number, word):
    with serve(lives=False) as server:
        # For which it does not wait.
        slow = open_raw(
            server, b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n'
        )
        assert is_served(server)
        server.process.send_signal(number)
        assert server.process.wait(timeout=20) == 128 + number
        slow.close()
    assert server.errors == f'error: {word}; files already written are whole\n'


def test_what_it_cannot_do_is_one_line(command, server):
    used = f'--port={server.port}'
    for flag, message in (
        (
            used,
            f'--host and --port: cannot listen at 127.0.0.1:{server.port} (Address already',
        ),
        ('--host=no.such.host.invalid', '--host and --port: cannot listen at no.such.host'),
        ('--workdir=nowhere', "--workdir: found in 'nowhere' no finished run"),
    ):
        flags = [flag] if 'port' in flag else [flag, '--port=0']
        process = command('scripts/demo.py', *flags)
        assert process.stderr.startswith(f'error: {message}')
        assert process.stderr.count('\n') == 1
        assert process.stdout == ''
        assert process.returncode in (1, 2)


def test_without_the_extra_it_says_what_to_install(command, tmp_path):
    (tmp_path / 'uvicorn.py').write_text("raise ImportError('no', name='uvicorn')")
    process = command('scripts/demo.py', PYTHONPATH=str(tmp_path))
    expected = "error: uvicorn is missing; allowed: pip install -e '.[demo]'\n"
    assert (process.stderr, process.returncode) == (expected, 1)


def test_slow_clients_keep_nobody_out(server):
    head = b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n'
    slow = [open_raw(server) for _ in range(200)]
    slow += [open_raw(server, b'POST /pre') for _ in range(50)]
    slow += [open_raw(server, head + bytes(300_000)) for _ in range(50)]
    assert all(is_served(server) for _ in range(3))
    for connection in slow:
        connection.close()
    assert is_served(server)


def test_who_sends_too_much_hears_why(server):
    for content in (bytes(app.MOST_BYTES + 1), bytes(5 * app.MOST_BYTES)):
        assert post(server, content)[0] == 413
    pieces = (bytes(2**20) for _ in range(17))
    assert post(server, pieces)[0] == 413


def test_broken_uploads_and_what_is_no_http_do_not_stop_it(server):
    head = b'POST /predict HTTP/1.1\r\nHost: x\r\n'
    form = b'Content-Type: multipart/form-data; boundary=x\r\n'
    for sent in (
        b'',
        b'\x16\x03\x01 hello',
        b'GET / HTTP/9.9\r\n\r\n',
        head + b'Content-Length: -1\r\n\r\n',
        head + b'Content-Length: 100\r\n\r\n' + DRAWING[:50],
        head + form + b'Content-Length: 100\r\n\r\n--x\r\nContent-Dis',
        head + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
        head + b'Transfer-Encoding: chunked\r\n\r\n5\r\nabc',
        head + b'X: ' + bytes(200_000),
    ):
        for _ in range(5):
            open_raw(server, sent).close()
        assert is_served(server)


def test_what_is_no_http_is_said_in_json(server):
    connection = open_raw(server, b'hello\r\n\r\n')
    answer = read_all(connection).decode()
    assert answer.startswith('HTTP/1.1 400 ')
    assert json.loads(answer.partition('\r\n\r\n')[2])['error'].startswith('request: found')


@pytest.mark.slow
@pytest.mark.parametrize('sent', [b'', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n' * 400])
def test_more_connections_than_files_are_sent_away(sent):
    """Idle ones, and such as never read the answers to what they ask."""
    with serve(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
    ) as s:
        assert is_served(s)
        connections = []
        for _ in range(400):
            with contextlib.suppress(OSError):
                connections.append(open_raw(s))
                connections[-1].settimeout(0.2)
                connections[-1].sendall(sent)
        for _ in range(30):
            time.sleep(1)
            with contextlib.suppress(OSError):
                if is_served(s):
                    break
        else:
            raise AssertionError('nobody is served any more')
        for connection in connections:
            connection.close()


@pytest.mark.slow
def test_large_pictures_leave_room_for_drawings(server):
    page = np.kron(draw(4, size=500), np.ones((16, 16), np.uint8))
    large = to_file(page)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(post, server, large) for _ in range(40)]
        for _ in range(5):
            assert is_served(server)
        assert {answer.result()[0] for answer in answers} == {200, 503}


@pytest.mark.slow
def test_a_flood_is_answered_or_sent_away(server):
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = [*pool.map(lambda _: post(server, DRAWING), range(600))]
    statuses = {status for status, _ in answers}
    assert statuses <= {200, 503}
    assert all(a['prediction'] == '7' for status, a in answers if status == 200)
    # Whoever has left is not worked for.
    for _ in range(500):
        head = b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n'
        open_raw(server, head % len(DRAWING) + DRAWING).close()
    while (answer := post(server, DRAWING))[0] == 503:
        time.sleep(1)  # as Retry-After says
    assert answer[0] == 200


@pytest.mark.slow
def test_slow_clients_are_sent_away():
    # Of some 20 files it needs itself.
    with serve(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
    ) as s:
        assert is_served(s)
        before = num_files(s.process)
        head = b'POST /predict HTTP/1.1\r\nHost: x\r\n'
        idle = [open_raw(s) for _ in range(50)]
        heads = [open_raw(s, head) for _ in range(50)]
        bodies = [open_raw(s, head + b'Content-Length: 99\r\n\r\n') for _ in range(50)]
        others = [open_raw(s, b'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n')]
        start = time.monotonic()
        while time.monotonic() < start + 14:
            for connection in (*heads, *others):
                try:
                    connection.sendall(b'X')
                except OSError:
                    heads = [each for each in heads if each is not connection]
                    others = [each for each in others if each is not connection]
            time.sleep(0.5)
        assert heads == others == []
        for connection in idle:
            assert connection.recv(1) == b''
        for connection in bodies:
            assert read_all(connection).startswith(b'HTTP/1.1 408 ')
        assert num_files(s.process) <= before + 1
        assert is_served(s)


@pytest.mark.slow
def test_a_small_part_of_the_memory_is_enough():
    """1 GiB, under all that is large at once."""
    rng = np.random.default_rng(0)
    page = np.kron(draw(4, size=500), np.ones((16, 16), np.uint8))
    flat = to_file(page)
    colours = np.stack([page] * 4, axis=-1)
    colours[..., 3] = 255
    colours[:2000, :1000, :3] ^= rng.integers(0, 2, (2000, 1000, 3), np.uint8)
    colours = to_file(colours)
    deep = io.BytesIO()
    Image.fromarray(page.astype(np.uint16) * 200).save(deep, 'PNG')
    bomb = to_file(np.zeros((30000, 30000), bool))
    assert max(map(len, (flat, colours, bomb))) < 16 * 2**20
    with serve() as server, concurrent.futures.ThreadPoolExecutor(20) as pool:
        head = b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n'
        held = [open_raw(server, head) for _ in range(20)]
        for connection in held:
            pool.submit(connection.sendall, bytes(15_000_000))
        large = [flat, colours, deep.getvalue(), bomb, bytes(16 * 2**20)] * 2
        answers = [pool.submit(post, server, content) for content in large]
        drawings = [pool.submit(is_served, server) for _ in range(10)]
        statuses = [answer.result()[0] for answer in answers]
        assert {*statuses} <= {200, 415, 422, 503}
        assert 200 in statuses
        assert all(drawing.result() for drawing in drawings)
        assert peak_mebibytes(server.process) < 1024
        print(f'{peak_mebibytes(server.process):.0f} MiB', statuses)
        for connection in held:
            connection.close()


@pytest.mark.slow
def test_the_load_is_measured(command, server):
    flags = ('scripts/load_demo.py', '--clients=1,3', '--seconds=1')
    process = command(*flags, f'--url={server.url}')
    assert process.returncode == 0, process.stderr
    head, _, *rows = process.stdout.splitlines()[:4]
    assert head.startswith('| clients | requests a second | median, ms | 99th percentile')
    for row, clients in zip(rows, ('1', '3'), strict=True):
        cells = row.strip('| ').split(' | ')
        assert cells[0] == clients
        assert float(cells[1]) > 0
        assert 0 < float(cells[2]) <= float(cells[3])
        assert cells[4] == '0'
    absent = command(*flags, '--url=http://127.0.0.1:1')
    assert absent.stderr.startswith('error: --url: no demo answers at http://127.0.0.1:1')
    assert absent.stderr.count('\n') == absent.returncode == 1


def test_answers_are_not_held_back_for_an_acknowledgement():
    listening = server.listen('127.0.0.1', 0)
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
