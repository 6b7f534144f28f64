"""The names that a server answers to, and the pages whose requests it takes.

A page of another site could have a browser send requests to a server that is there for
this machine or network only: directly, or under a name of its own that it has suddenly
point here (DNS rebinding).
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from mnist_flax.common.errors import require

_FROM_ELSEWHERE = 'request: it comes from a page of another site; use the page of this one'

_NAME = re.compile(r'[\w-]+(\.[\w-]+)*')


def read_names(texts: Sequence[str]) -> list[str]:
    """Reads names of hosts, as a user gives them.

    Raises:
      UserError: One is none.
    """
    for text in texts:
        require(
            bool(_NAME.fullmatch(text)),
            f'--allow_host: found {text!r}; allowed: the name of a host, such as '
            'digits.example, without http:// and port',
        )
    return [text.lower() for text in texts]


def explain_refusal(method: str, headers: Headers, allowed: Sequence[str]) -> str:
    """Says why a request is refused; '' if it is not.

    Args:
      method: ``'GET'``, which only shows a page, or another.
      headers: Its headers.
      allowed: Names of the server, such as ``'digits.example'``, besides all addresses,
        ``'localhost'`` and the machine's own name.
    """
    host = headers.get('host', '')
    name = _read_name(f'//{host}')
    if not (name in allowed or name in _own_names() or _is_address(name)):
        return (
            f'request: this server does not answer to the name {name[:100]!r}; use its '
            f'address, or start it with --allow_host={name[:100]}'
        )
    if method == 'GET':  # a link to it may be anywhere
        return ''
    # Browsers name the page that sends a request. An address is no name that could be
    # pointed elsewhere, but another port of it may serve another page.
    origin = headers.get('origin', f'http://{host}')
    is_own = origin.partition('://')[2].lower() == host.lower()
    origin_name = _read_name(origin)
    if headers.get('sec-fetch-site') == 'cross-site':
        return _FROM_ELSEWHERE
    if not (is_own or origin_name in allowed):
        # A proxy may have put another name in the place of the one that the page has.
        if _NAME.fullmatch(origin_name) and not _is_address(origin_name):
            advice = f', or, behind a proxy, start it with --allow_host={origin_name[:100]}'
            return _FROM_ELSEWHERE + advice
        return _FROM_ELSEWHERE
    return ''


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {'localhost', name, f'{name}.local'}


def _read_name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or '').rstrip('.')
    except ValueError:  # such as half of an IPv6 address
        return ''


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
