"""Many clients at once to the requests a second, and the latency, of a demo that runs."""

import concurrent.futures
import http.client
import io
import platform
import time
import urllib.parse
from collections.abc import Sequence
from importlib import metadata

import numpy as np
from PIL import Image, ImageDraw

from mnist_flax.common import tables
from mnist_flax.training import devices
from mnist_flax.common.errors import UserError, require

_PACKAGES = ('mnist_flax', 'jax', 'scipy', 'pillow', 'starlette', 'uvicorn')


def measure(url: str, numbers: Sequence[int], seconds: float) -> str:
    """Sends a drawing again and again, as the page does.

    Args:
      url: Where the demo is.
      numbers: How many clients to have at once, one after the other.
      seconds: How long to go on with each.

    Returns:
      A Markdown table with a row for each number of clients.

    Raises:
      UserError: No demo answers there.
    """
    parts = urllib.parse.urlsplit(url)
    require(
        parts.scheme == 'http' and parts.hostname is not None,
        f'--url: found {url!r}; allowed: an address such as http://127.0.0.1:8000',
    )
    rows = [
        ['clients', 'requests a second', 'median, ms', '99th percentile, ms', 'refused']
    ]
    drawing = _draw()
    for number in numbers:
        with concurrent.futures.ThreadPoolExecutor(number) as pool:
            end = time.perf_counter() + seconds
            clients = [pool.submit(_ask_until, end, parts, drawing) for _ in range(number)]
            try:
                answers = [pair for client in clients for pair in client.result()]
            except (OSError, http.client.HTTPException) as error:
                raise UserError(
                    f'--url: no demo answers at {url} ({error}); allowed: the address that '
                    'scripts/demo.py prints'
                ) from error
        well = 1000 * np.array([taken for status, taken in answers if status == 200])
        require(len(well) > 0, f'--url: found no digit at {url}; allowed: the demo')
        rows.append(
            [
                str(number),
                f'{len(well) / seconds:.1f}',
                f'{np.median(well):.0f}',
                f'{np.percentile(well, 99):.0f}',
                str(len(answers) - len(well)),
            ]
        )
    versions = ', '.join(f'{name} {metadata.version(name)}' for name in _PACKAGES)
    where = f'{platform.machine()}, {devices.count_cores()} cores'
    about = f'{seconds:g} s each; {where}; python {platform.python_version()}, {versions}.'
    return f'{tables.to_markdown(rows)}\n{about}\n'


def _ask_until(
    end: float, parts: urllib.parse.SplitResult, drawing: bytes
) -> list[tuple[int, float]]:
    """Asks on one connection; returns statuses, and seconds from question to answer."""
    connection = http.client.HTTPConnection(parts.hostname or '', parts.port, timeout=60)
    answers = []
    while (start := time.perf_counter()) < end:
        connection.request('POST', '/predict', drawing)
        response = connection.getresponse()
        response.read()
        answers.append((response.status, time.perf_counter() - start))
    connection.close()
    return answers


def _draw() -> bytes:
    """A seven, of the size that the page sends."""
    image = Image.new('RGB', (280, 280), 'white')
    line = [(90, 60), (190, 60), (130, 220)]
    ImageDraw.Draw(image).line(line, fill='black', width=15, joint='curve')
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()
