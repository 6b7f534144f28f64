"""The demo behind a proxy, under another name and another path."""

import contextlib
import http.client
import http.server
import threading

import pytest
from demo_page import DESKTOP, PLACES, answer, draw_by_mouse, message
from demo_process import serve
from handwriting_of_digits import draw, to_file, write

NAME, PATH = 'digits.example', '/user/ann/proxy/8000'


@pytest.fixture(scope='module')
def server():
    """The demo, as it is started behind a proxy."""
    with serve(flags=[f'--allow_host={NAME}']) as server:
        yield server


@contextlib.contextmanager
def proxy_to(server, keeps_host):
    """Passes on what is under `PATH`, with or without the name that the client has used."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(f'{PATH}/'):
                self.send_error(404)
                return
            content = self.rfile.read(int(self.headers.get('Content-Length', 0)))
            headers = {**self.headers, 'X-Forwarded-Prefix': PATH}
            if not keeps_host:  # as nginx does unless it is told otherwise
                headers['Host'] = f'127.0.0.1:{server.port}'
            inner = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60)
            path = self.path.removeprefix(PATH)
            with contextlib.closing(inner):
                inner.request(self.command, path, content, headers)
                response = inner.getresponse()
                body = response.read()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ('content-length', 'date', 'server'):
                    self.send_header(name, value)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    proxy = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy.server_port
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@contextlib.contextmanager
def open_page_by_proxy(browser, server, keeps_host, name):
    with (
        proxy_to(server, keeps_host) as port,
        contextlib.closing(browser.new_context(**DESKTOP)) as context,
    ):
        page = context.new_page()
        page.goto(f'http://{name}:{port}{PATH}/')
        yield page


@pytest.mark.parametrize('keeps_host', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_page_works_under_another_name_and_path(browser, server, keeps_host):
    with open_page_by_proxy(browser, server, keeps_host, NAME) as page:
        draw_by_mouse(page, write(3, PLACES[0]))
        assert answer(page) == '3'
        page.get_by_role('link', name='API').click()
        page.wait_for_url(f'**{PATH}/docs')
        page.wait_for_selector('text=/predict')
        page.get_by_role('link', name='the page').click()
        page.wait_for_url(f'**{PATH}/')
        page.wait_for_selector('canvas')


@pytest.mark.slow
@pytest.mark.parametrize('keeps_host', [True, False])
def test_another_name_than_the_allowed_one_is_refused_in_words(browser, server, keeps_host):
    with open_page_by_proxy(browser, server, keeps_host, 'others.example') as page:
        if keeps_host:
            assert '--allow_host=others.example' in page.content()
            return
        draw_by_mouse(page, write(3, PLACES[0]))
        assert '--allow_host=others.example' in message(page)


def test_programs_need_no_more_than_the_address(server):
    with proxy_to(server, keeps_host=False) as port:
        client = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        with contextlib.closing(client):
            client.request('POST', f'{PATH}/predict', to_file(draw(7)))
            response = client.getresponse()
            assert (response.status, b'"prediction":"7"' in response.read()) == (200, True)
