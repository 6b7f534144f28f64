"""Which requests the demo takes, by the name it is called and the page they come from."""

import socket

import pytest
from starlette.datastructures import Headers

from mnist_flax.common.errors import UserError
from mnist_flax.demo import origins


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
    allowed = origins.read_names(['Digits.example'])
    assert origins.explain_refusal('POST', Headers(headers), allowed) == ''


@pytest.mark.parametrize('allowed', [[], ['digits.example']])
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
        {'Host': '127.0.0.1:8000', 'Origin': 'http://127.0.0.1:3000'},
        {'Host': '127.0.0.1:8000', 'Origin': 'null'},
        {'Host': '127.0.0.1:8000', 'Origin': 'http://[::1'},
        {'Host': 'localhost', 'Sec-Fetch-Site': 'cross-site'},
    ],
)
def test_other_names_and_pages_are_refused(headers, allowed):
    refusal = origins.explain_refusal('POST', Headers(headers), allowed)
    assert refusal.startswith('request: ')
    assert '\n' not in refusal


def test_a_link_to_its_page_works_from_anywhere_under_its_own_name():
    headers = {'Host': '127.0.0.1:8000', 'Sec-Fetch-Site': 'cross-site'}
    assert origins.explain_refusal('GET', Headers(headers), []) == ''
    headers['Host'] = 'rebound.example'
    assert origins.explain_refusal('GET', Headers(headers), [])


@pytest.mark.parametrize(
    'name', ['', 'https://digits.example', 'digits.example:80', 'a..b', '*.example']
)
def test_what_is_no_name_of_a_host_is_one_line(name):
    with pytest.raises(UserError, match='--allow_host: found .*; allowed: the name of a h'):
        origins.read_names([name])
