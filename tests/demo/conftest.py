"""The demo as a process, and its page in a browser."""

import contextlib

import pytest
from demo_page import CHROMIUM
from demo_process import serve

# The names that tests use for this machine.
NAMES = '--host-resolver-rules=MAP *.example 127.0.0.1'


@pytest.fixture(scope='module')
def server():
    """The demo, listening."""
    with serve() as server:
        yield server


@pytest.fixture(scope='module')
def browser():
    """A real browser, for the demo's page."""
    from playwright import sync_api

    if CHROMIUM is None:
        pytest.skip('needs Chromium: apt-get install chromium')
    sync_api.expect.set_options(timeout=30_000)  # milliseconds, as for all else; not 5,000
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=[NAMES])


@pytest.fixture
def open_page(browser, server):
    """Opens the page, which must not load from elsewhere nor log an error."""
    with contextlib.ExitStack() as stack:

        def open_(path='/', **options):
            context = stack.enter_context(browser.new_context(**options))
            page = context.new_page()
            mistakes = []

            def note_request(request):
                if not request.url.startswith((server.url, 'data:', 'blob:')):
                    mistakes.append(request.url)

            def note_message(message):
                # Chromium itself logs answers that are errors, and absent ones.
                if not message.text.startswith('Failed to load resource'):
                    mistakes.append(message.text)

            page.on('request', note_request)
            page.on('console', note_message)
            page.on('pageerror', lambda error: mistakes.append(error))
            stack.callback(lambda: pytest.fail(f'{mistakes}') if mistakes else None)
            page.goto(server.url + path)
            return page

        yield open_
