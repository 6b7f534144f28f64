"""``scripts/demo.py`` as a process, with careless and hostile clients."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import time

import numpy as np
import pytest
from demo_process import serve
from handwriting_of_digits import draw, to_file
from hostile_pictures import tiff_of_fractions

from mnist_flax.common.errors import UserError
from mnist_flax.demo import app
from mnist_flax.demo.server import listen

DRAWING = to_file(draw(7))
HOST = b'Host: localhost\r\n'
HEAD = b'POST /predict HTTP/1.1\r\n' + HOST


def post(server, content, timeout=120):
    """Sends a picture on a connection of its own; returns status and answer."""
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request('POST', '/predict', content)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def is_served(server):
    status, answer = post(server, DRAWING)
    return (status, answer.get('prediction')) == (200, '7')


def is_served_in_the_end(server):
    """To a client that comes again, as Retry-After says: a busy machine may refuse."""
    for _ in range(20):
        status, answer = post(server, DRAWING)
        if status != 503:
            return (status, answer.get('prediction')) == (200, '7')
        time.sleep(1)
    return False


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ('number', 'word'),
    [
        (signal.SIGINT, 'interrupted'),
        (signal.SIGTERM, 'terminated'),
    ],
)
def test_a_signal_ends_it_at_once(number, word):
    with serve(lives=False) as server:
        slow = open_raw(server, HEAD + b'Content-Length: 9\r\n\r\n')  # not waited for
        assert is_served(server)
        server.process.send_signal(number)
        assert server.process.wait(timeout=20) == 128 + number
        slow.close()
    assert server.errors == f'error: {word}\n'


@pytest.mark.parametrize(
    ('flag', 'message', 'has_uvicorn'),
    [
        ('--port={port}', '--host and --port: cannot listen at 127.0.0.1:{port} (', True),
        pytest.param(
            '--host=no.such.host.invalid', '--host and --port: cannot listen at no.such.',
            True, marks=pytest.mark.slow,
        ),
        pytest.param('--workdir=nowhere', '--workdir: ', True, marks=pytest.mark.slow),
        ('--port=0', 'uvicorn is missing; install it: ', False),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_one_line(
    command, server, tmp_path, flag, message, has_uvicorn
):
    environment = {}
    if not has_uvicorn:
        (tmp_path / 'uvicorn.py').write_text("raise ImportError('no', name='uvicorn')")
        environment['PYTHONPATH'] = str(tmp_path)
    flag, message = (text.format(port=server.port) for text in (flag, message))
    process = command('scripts/demo.py', '--port=0', flag, **environment)
    assert process.stderr.startswith(f'error: {message}')
    assert process.stderr.count('\n') == 1
    assert (process.stdout, process.returncode) == ('', 1)


def test_slow_clients_keep_nobody_out(server):
    head = HEAD + b'Content-Length: 16000000\r\n\r\n'
    slow = [open_raw(server) for _ in range(200)]
    slow += [open_raw(server, b'POST /pre') for _ in range(50)]
    slow += [open_raw(server, head + bytes(300_000)) for _ in range(50)]
    assert all(is_served(server) for _ in range(3))
    for connection in slow:
        connection.close()
    assert is_served(server)


@pytest.mark.slow
def test_a_picture_that_is_meant_to_harm_keeps_nobody_out(server):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        attack = pool.submit(post, server, tiff_of_fractions())
        num_served = 0
        while not attack.done():
            assert is_served(server)
            num_served += not attack.done()
        status, answer = attack.result()
    message = 'picture: decoding it takes more than 3 s; save it anew, as PNG'
    assert (status, answer) == (422, {'error': message})
    assert num_served >= 3


def test_who_sends_too_much_gets_the_answer(server):
    for content in (bytes(app.MOST_BYTES + 1), bytes(5 * app.MOST_BYTES)):
        assert post(server, content)[0] == 413
    pieces = (bytes(2**20) for _ in range(17))
    assert post(server, pieces)[0] == 413


def test_broken_requests_do_not_stop_it(server):
    form = b'Content-Type: multipart/form-data; boundary=x\r\n'
    chunked = b'Transfer-Encoding: chunked\r\n\r\n'
    for sent, more in (
        (b'', b''),
        (b'\x16\x03\x01 hello', b''),
        (b'GET / HTTP/9.9\r\n\r\n', b''),
        (HEAD + b'Content-Length: -1\r\n\r\n', b''),
        (HEAD + b'Content-Length: 100\r\n\r\n' + DRAWING[:50], b''),
        (HEAD + form + b'Content-Length: 100\r\n\r\n--x\r\nContent-Dis', b''),
        (HEAD + form + b'Content-Length: 7\r\n\r\n--wrong', b''),
        (HEAD + chunked + b'5\r\nabc', b''),
        (HEAD + chunked, b'zz\r\n'),
        (b'POST /x HTTP/1.1\r\n' + HOST + chunked, b'zz\r\n'),  # after its answer
        (HEAD + b'X: ' + bytes(200_000), b''),
    ):
        for _ in range(5):
            connection = open_raw(server, sent)
            if more:
                time.sleep(0.1)
                connection.sendall(more)
                assert read_all(connection).startswith(b'HTTP/1.1 4')
            connection.close()
        assert is_served(server)


@pytest.mark.slow
def test_slow_and_too_many_connections_are_closed():
    first = (
        'import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n'
        'from mnist_flax.demo import app, server\n'
        'app._UPLOAD_SECONDS, server._IDLE_SECONDS = 4, 2'
    )
    with serve(first) as server:

        def num_files():
            return len(os.listdir(f'/proc/{server.process.pid}/fd'))

        assert is_served(server)
        before = num_files()
        length = b'Content-Length: 99\r\n\r\n'
        bodies = [open_raw(server, HEAD + length) for _ in range(20)]
        others = [open_raw(server, sent) for sent in (b'', HEAD) for _ in range(20)]
        others += [open_raw(server, b'POST /x HTTP/1.1\r\nHost: localhost\r\n' + length)]
        for _ in range(20):  # who do not read the answers
            others.append(open_raw(server))
            others[-1].settimeout(0.2)
            with contextlib.suppress(OSError):
                others[-1].sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' * 400)
        assert is_served(server)
        for connection in bodies:
            answer = read_all(connection)
            assert answer.startswith(b'HTTP/1.1 408 ')
            assert b'upload: not complete after 4 s' in answer
        others += [open_raw(server) for _ in range(200)]  # more than are allowed
        end = time.monotonic() + 60
        while num_files() > before + 1:
            for connection in others:  # who send a little now and then
                with contextlib.suppress(OSError):
                    connection.sendall(b'X')
            time.sleep(0.5)
            assert time.monotonic() < end
        assert is_served(server)
        for connection in (*bodies, *others):
            connection.close()


@pytest.mark.slow
def test_a_flood_is_answered_or_refused(server):
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = [*pool.map(lambda _: post(server, DRAWING), range(600))]
    statuses = {status for status, _ in answers}
    assert statuses <= {200, 503}
    assert all(a['prediction'] == '7' for status, a in answers if status == 200)
    # For clients that have left nothing is computed.
    for _ in range(500):
        head = HEAD + b'Content-Length: %d\r\n\r\n' % len(DRAWING)
        open_raw(server, head + DRAWING).close()
    while (answer := post(server, DRAWING))[0] == 503:
        time.sleep(1)  # as Retry-After says
    assert answer[0] == 200


@pytest.mark.slow
def test_large_pictures_leave_room_for_drawings_and_a_small_memory_is_enough():
    """Less than 1 GiB, with everything that is large at once."""
    page = np.kron(draw(4, size=500), np.ones((16, 16), np.uint8))
    colours = np.stack([page] * 4, axis=-1)
    colours[..., 3] = 255
    large = [page, colours, page.astype(np.uint16) * 200, np.zeros((30000, 30000), bool)]
    large = [to_file(pixels) for pixels in large]
    with serve() as server, concurrent.futures.ThreadPoolExecutor(60) as pool:
        head = HEAD + b'Content-Length: 16000000\r\n\r\n'
        held = [open_raw(server, head) for _ in range(20)]
        for connection in held:
            pool.submit(connection.sendall, bytes(15_000_000))
        answers = [pool.submit(post, server, content) for content in large * 5]
        answers += [pool.submit(post, server, bytes(16 * 2**20)) for _ in range(2)]
        drawings = [pool.submit(is_served_in_the_end, server) for _ in range(10)]
        statuses = {answer.result()[0] for answer in answers}
        assert {200, 503} <= statuses <= {200, 415, 422, 503}
        assert all(drawing.result() for drawing in drawings)
        with open(f'/proc/{server.process.pid}/status') as file:
            (peak,) = re.findall(r'VmHWM:\s+(\d+) kB', file.read())
        assert int(peak) < 2**20
        for connection in held:
            connection.close()


def test_no_address_is_not_all_addresses():
    with pytest.raises(UserError, match="^--host: found ''; allowed: an address of this"):
        listen('', 0)


def test_answers_do_not_wait_for_an_acknowledgement():
    with listen('127.0.0.1', 0) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
