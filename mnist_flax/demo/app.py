"""The demo as a web app: a page to draw on, and ``POST /predict`` for programs."""

import asyncio
import base64
import hashlib
import html
import io
import json
import pathlib
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mnist_flax import __version__
from mnist_flax.common.errors import UserError
from mnist_flax.demo import origins, words
from mnist_flax.demo.turns import TooManyError, Turns
from mnist_flax.reading.predict import to_json
from mnist_flax.reading.reader import Reader
from mnist_flax.recognition import decoding, workers
from mnist_flax.recognition.resizing import to_image

MOST_BYTES = 16 * 2**20  # of one upload
_UPLOAD_SECONDS = 30  # for a whole upload, however slowly it comes

# All uploads together may hold this much memory, not counting the first 64 KiB of each:
# large, slow ones then neither fill the memory nor keep drawings out.
_MOST_HELD = 64 * 2**20
_FREE = 64 * 2**10

# Drawings and other small pictures take some hundredths of a second each. Who sends some
# that take seconds has two of these places, and one is left for others.
_AT_ONCE, _AT_ONCE_EACH, _MOST_WAITING, _WAITING_SECONDS = 3, 2, 64, 2.0
_LIMITS = workers.Limits(seconds=3, memory=600 * 2**20)

# Pictures of more pixels take up to some seconds and 400 MiB, and wait for each other;
# drawings are recognized meanwhile.
_LARGE = 4_000_000
_LARGE_AT_ONCE, _MOST_LARGE_WAITING, _LARGE_WAITING_SECONDS = 1, 4, 20.0

# Charsets of the names in a form; Starlette tries others too, some of which fail.
_CHARSETS = (b'', b'utf-8', b'utf8', b'us-ascii', b'iso-8859-1', b'latin-1')

# The start of JSON, of a data URL, and of a JPEG or PNG as base64.
_TEXT = re.compile(rb'\s*[{["]|data:|/9j/|iVBORw0KGgo')

_NAME = 'picture'  # of what is uploaded, in messages

_FOLDER = pathlib.Path(__file__).parent


def create_app(reader: Reader, allowed_hosts: Sequence[str] = ()) -> Starlette:
    """Makes the app, with the networks compiled.

    Args:
      reader: Reads pictures.
      allowed_hosts: Names that the server answers to, as in `origins.explain_refusal`.

    Returns:
      An ASGI app: ``/`` is the page, ``POST /predict`` takes a picture as a form's file or
      as the whole body, ``/docs`` and ``/openapi.json`` describe it. All errors are JSON.
    """
    reader.compile()
    recognizer = reader.recognizer
    texts = words.choose(reader)
    description = json.loads((_FOLDER / 'openapi.json').read_text())
    description['info'] |= {
        'version': __version__,
        'summary': texts.summary,
        'description': texts.description,
    }
    description['paths']['/predict']['post']['summary'] = texts.summary
    height, width, _ = recognizer.networks.image_shape
    of_page = texts._asdict() | {
        'classes': json.dumps(recognizer.class_names),
        'size': f'{height} × {width}',
    }
    queue = _RequestQueue(reader)
    app = Starlette(
        routes=[
            Route('/', _load_page('page.html', of_page), methods=['GET']),
            Route('/docs', _load_page('docs.html', {}), methods=['GET']),
            Route('/openapi.json', _to_json(description), methods=['GET']),
            Route('/predict', queue.predict, methods=['POST']),
        ],
        middleware=[Middleware(_HostCheck, allowed=allowed_hosts)],
        exception_handlers={
            HTTPException: _answer_error,
            ClientDisconnect: _answer_error,
            Exception: _answer_error,
        },
    )
    app.router.redirect_slashes = False  # to where the client says that the server is
    return app


def _load_page(name: str, texts: Mapping[str, str]) -> Response:
    """Loads a page, whose headers forbid the browser to load anything from elsewhere.

    The texts are put in where it has their names between percent signs, %%so%%.
    """
    content = (_FOLDER / name).read_text(encoding='utf-8')
    content = re.sub('%%([a-z]+)%%', lambda place: html.escape(texts[place[1]]), content)
    policy = "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "
    for tag in ('script', 'style'):
        (code,) = re.findall(f'<{tag}>(.*?)</{tag}>', content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        policy += f"{tag}-src 'sha256-{digest}'; "
    policy += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    headers = {
        'Content-Security-Policy': policy,
        'X-Content-Type-Options': 'nosniff',
        'Referrer-Policy': 'no-referrer',
        'Cache-Control': 'no-cache',
    }
    return Response(content, media_type='text/html', headers=headers)


class _HostCheck:
    """Refuses requests under other names, and from pages of other sites."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]):
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has the app answer it."""
        app = self._app
        if scope['type'] == 'http':
            headers = Headers(scope=scope)
            refusal = origins.explain_refusal(scope['method'], headers, self._allowed)
            app = _to_json({'error': refusal}, 403) if refusal else app
        await app(scope, receive, send)


class _Upload(Request):
    """A request whose body is counted while it comes."""

    def __init__(self, request: Request, uploads: 'set[_Upload]'):
        super().__init__(request.scope, request.receive)
        self.size = 0  # bytes
        self._uploads = uploads

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yields the body; ends when it, or all uploads together, become too large."""
        async for chunk in super().stream():
            self.size += len(chunk)
            if self.size > MOST_BYTES:
                message = (
                    f'upload: larger than {MOST_BYTES >> 20} MiB; send a smaller picture'
                )
                raise HTTPException(413, message)
            held = sum(max(0, upload.size - _FREE) for upload in self._uploads)
            if self.size > _FREE and held > _MOST_HELD:
                raise _busy()
            yield chunk

    async def read_picture(self) -> bytes:
        """Reads the picture, be it a file in a form or the body itself."""
        # As Starlette reads it, which of a charset that is given twice takes the last.
        kind, options = parse_options_header(self.headers.get('content-type', ''))
        if kind != b'multipart/form-data':
            return await self.body()
        if options.get(b'charset', b'').lower() not in _CHARSETS:
            raise HTTPException(400, 'form: its charset is not known; leave it out')
        async with self.form(max_files=1, max_fields=10) as form:
            for value in form.values():
                if isinstance(value, UploadFile):
                    return await value.read()
        raise HTTPException(400, 'form: it has no file; send a picture as a file')


class _RequestQueue:
    """Takes uploads, and works on a few at a time in threads beside the event loop."""

    def __init__(self, reader: Reader):
        self._reader = reader
        self._single = Reader(reader.recognizer, single=True)
        self._uploads: set[_Upload] = set()
        self._turns = Turns(_AT_ONCE, _AT_ONCE_EACH, _MOST_WAITING, _WAITING_SECONDS)
        self._large_turns = Turns(
            _LARGE_AT_ONCE, 1, _MOST_LARGE_WAITING, _LARGE_WAITING_SECONDS
        )
        self._semaphore = asyncio.Semaphore(2)

    async def predict(self, request: Request) -> Response:
        """Answers ``POST /predict``."""
        upload = _Upload(request, self._uploads)
        self._uploads.add(upload)
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS):
                content = await upload.read_picture()
        except TimeoutError as error:
            message = (
                f'upload: not complete after {_UPLOAD_SECONDS} s; send a smaller picture'
            )
            raise HTTPException(408, message) from error
        else:
            if not content:
                raise HTTPException(400, 'picture: the upload is empty; send a picture')
            if _TEXT.match(content):
                message = (
                    'picture: it came as text, such as JSON, base64 or a data URL; send '
                    'the bytes of the file, as a form or as the whole body'
                )
                raise HTTPException(415, message)
            reader = self._single if 'single' in request.query_params else self._reader
            return _to_json(await self._recognize_in_turn(content, upload, reader))
        finally:
            self._uploads.remove(upload)

    async def _recognize_in_turn(
        self, content: bytes, upload: _Upload, reader: Reader
    ) -> dict[str, Any]:
        client = upload.client.host if upload.client else ''
        try:
            async with self._turns.take(client):
                await _check_connected(upload)
                count = asyncio.to_thread(workers.count_pixels, content, _NAME, _LIMITS)
                num_pixels = await count
                if num_pixels is None:
                    found = decoding.name_other(content) or 'this kind of file'
                    allowed = ', '.join(decoding.FORMATS)
                    raise HTTPException(
                        415, f'{_NAME}: {found} cannot be read; send one of {allowed}'
                    )
                if num_pixels <= _LARGE:
                    return await self._recognize(content, _LIMITS, reader)
            async with self._large_turns.take(client):
                await _check_connected(upload)
                return await self._recognize(content, workers.LIMITS, reader)
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        except TooManyError as error:
            raise _busy() from error

    async def _recognize(
        self, content: bytes, limits: workers.Limits, reader: Reader
    ) -> dict[str, Any]:
        decode = reader.recognizer.decode
        pixels = await asyncio.to_thread(decode, content, _NAME, limits)
        # Pictures that are decoded may be many; what follows is at work on the same cores.
        async with self._semaphore:
            return await asyncio.to_thread(_answer, pixels, reader)


def _answer(pixels: decoding.Pixels, reader: Reader) -> dict[str, Any]:
    reading = reader.read_one(pixels, _NAME)
    seen = io.BytesIO()
    to_image(reading.least_sure.prediction.image).save(seen, 'PNG')
    return {
        'doubt': '',
        **to_json(reading, reader.recognizer.class_names),
        'image': 'data:image/png;base64,' + base64.b64encode(seen.getvalue()).decode(),
    }


async def _check_connected(upload: _Upload) -> None:
    """Drops a request whose client has left while it waited."""
    if await upload.is_disconnected():
        raise ClientDisconnect


def _busy() -> HTTPException:
    message = 'server: too many uploads at once; try again in a second'
    return HTTPException(503, message, {'Retry-After': '1'})


async def _answer_error(request: Request, error: Exception) -> Response:
    # Of an upload that is refused uvicorn reads and drops the rest: most clients read the
    # answer only when they have sent everything.
    if isinstance(error, HTTPException):
        return _to_json({'error': error.detail}, error.status_code, error.headers)
    if isinstance(error, ClientDisconnect):  # nobody reads it
        return _to_json({'error': 'upload: it is not complete; send all of it'}, 400)
    return _to_json({'error': 'server: it has a bug; its log says which'}, 500)


def _to_json(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    fixed = {'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store'}
    return JSONResponse(content, status, {**fixed, **(headers or {})})
