"""Which requests the demo takes, by the name it is called and the page they come from."""

import socket

import pytest
from starlette.datastructures import Headers

from mnist_flax.demo import origins

ALLOWED = ['digits.example']


@pytest.mark.parametrize(
    'headers',
    [
        {'Host': '127.0.0.1:8000'},
        {'Host': '192.168.1.5:8000', 'Origin': 'http://192.168.1.5:8000'},
        {'Host': '[::1]:8000', 'Origin': 'http://[::1]:8000'},
        {'Host': 'LocalHost:8000', 'Origin': 'http://localhost:8000'},
        {'Host': socket.gethostname()},
        {'Host': f'{socket.gethostname()}.local.'},
        {'Host': 'digits.example', 'Origin': 'https://digits.example'},
        # Behind a proxy that gives it another name; a browser says what it thinks.
        {'Host': '127.0.0.1:8000', 'Origin': 'https://digits.example'},
        {'Host': 'localhost', 'Sec-Fetch-Site': 'same-origin'},
    ],
)
def test_its_own_names_and_pages_are_taken(headers):
    assert origins.explain_refusal(Headers(headers), ALLOWED) == ''


@pytest.mark.parametrize(
    'headers',
    [
        {},
        {'Host': ''},
        {'Host': 'rebound.example:8000'},
        {'Host': 'digits.example.org'},
        {'Host': '127.0.0.1.rebound.example'},
        {'Host': 'localhost@rebound.example'},
        {'Host': '[::1'},
        {'Host': 'localhost:8000', 'Origin': 'http://localhost:3000'},
        {'Host': '192.168.1.5:8000', 'Origin': 'http://192.168.1.5'},
        {'Host': '192.168.1.5:8000', 'Origin': 'http://other.example'},
        {'Host': '127.0.0.1:8000', 'Origin': 'null'},
        {'Host': '127.0.0.1:8000', 'Origin': 'http://[::1'},
        {'Host': 'localhost', 'Sec-Fetch-Site': 'cross-site'},
    ],
)
def test_other_names_and_pages_are_refused(headers):
    refusal = origins.explain_refusal(Headers(headers), ALLOWED)
    assert refusal.startswith('request: ')
    assert '\n' not in refusal
