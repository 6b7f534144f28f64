"""The demo as a web app: a page to draw on, and ``POST /predict`` for programs."""

import asyncio
import base64
import hashlib
import io
import json
import pathlib
import re
import warnings
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import python_multipart  # noqa: F401  starlette says only at an upload that it is missing
from PIL import Image, ImageDraw, UnidentifiedImageError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mnist_flax import __version__
from mnist_flax.recognition import pictures, recognizer
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.recognizer import Recognizer

MOST_BYTES = 16 * 2**20

# For a whole upload, however slowly it drips in.
_UPLOAD_SECONDS = 30

# What all uploads together may hold of memory, apart from the beginning of each: large
# ones, sent slowly, keep neither drawings out nor the memory full.
_MOST_HELD = 64 * 2**20
_BEGINNING = 64 * 2**10

# Uploads that wait for the processor, or have it; a drawing takes some hundredths of a
# second, a large picture up to some seconds.
_MOST_WAITING, _MOST_LARGE = 64, 4

# Pixels from which a picture is worked on alone, since one of `pictures.MOST_PIXELS` takes
# 400 MiB, while drawings go on beside it.
_LARGE = 4_000_000

_FOLDER = pathlib.Path(__file__).parent


def create_app(recognizer: Recognizer) -> Starlette:
    """Makes the app, ready to answer at once.

    Args:
      recognizer: Predicts.

    Returns:
      An ASGI app: ``/`` is the page, ``POST /predict`` takes a picture as a form's file or
      as the whole body, ``/docs`` and ``/openapi.json`` describe it. All errors are JSON.
    """
    description = json.loads((_FOLDER / 'demo_openapi.json').read_text())
    description['info']['version'] = __version__
    desk = _Desk(recognizer)
    desk.recognize(_draw_example())  # compiles

    async def describe(request: Request) -> Response:
        return _to_json(200, description)

    page, docs = _Page('demo.html'), _Page('demo_docs.html')
    app = Starlette(
        routes=[
            Route('/', page.respond),
            Route('/docs', docs.respond),
            Route('/openapi.json', describe),
            Route('/predict', desk.predict, methods=['POST']),
        ],
        exception_handlers={
            HTTPException: _say_error,
            ClientDisconnect: _say_error,
            Exception: _say_error,
        },
    )
    app.router.redirect_slashes = False  # to where the client says that the server is
    return app


class _Page:
    """A page of one file, which the browser keeps from loading anything from outside."""

    def __init__(self, name: str):
        self._content = (_FOLDER / name).read_text(encoding='utf-8')
        policy = "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "
        for tag in ('script', 'style'):
            (code,) = re.findall(f'<{tag}>(.*?)</{tag}>', self._content, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
            policy += f"{tag}-src 'sha256-{digest}'; "
        policy += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        self._headers = {
            'Content-Security-Policy': policy,
            'X-Content-Type-Options': 'nosniff',
            'Referrer-Policy': 'no-referrer',
            'Cache-Control': 'no-cache',
        }

    async def respond(self, request: Request) -> Response:
        return Response(self._content, media_type='text/html', headers=self._headers)


class _Desk:
    """Takes uploads, and has a few at a time worked on beside the event loop."""

    def __init__(self, recognizer: Recognizer):
        self._recognizer = recognizer
        self._num_held = 0  # bytes
        self._num_waiting, self._num_large = 0, 0
        self._measuring = asyncio.Semaphore(1)
        self._small, self._large = asyncio.Semaphore(2), asyncio.Semaphore(1)

    async def predict(self, request: Request) -> Response:
        """Answers ``POST /predict``."""
        # A page of somebody else's, in the browser of whoever runs this, is no business of
        # a server that is bound to loopback.
        if request.headers.get('sec-fetch-site') == 'cross-site':
            message = 'request: found one from another site; allowed: this page, programs'
            raise HTTPException(403, message)
        held = _Held(self)
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS):
                content = await _read(request, held)
            if not content:
                raise HTTPException(400, 'picture: found nothing; allowed: a picture')
            return _to_json(200, await self._work_on(content, request))
        except TimeoutError as error:
            message = f'upload: not whole after {_UPLOAD_SECONDS} s; allowed: a faster one'
            raise HTTPException(408, message) from error
        finally:
            self._num_held -= held.count

    def hold(self, count: int) -> None:
        """Counts bytes that are held in memory; refuses when they become too many."""
        self._num_held += count
        if self._num_held > _MOST_HELD:
            raise _busy()

    async def _work_on(self, content: bytes, request: Request) -> dict[str, Any]:
        if self._num_waiting >= _MOST_WAITING:
            raise _busy()
        self._num_waiting += 1
        try:
            async with self._measuring:
                size = await asyncio.to_thread(_count_pixels, content)
            if size <= _LARGE:
                return await self._recognize_in(self._small, content, request)
            # So that they take no drawing's place.
            if self._num_large >= _MOST_LARGE:
                raise _busy()
            self._num_large += 1
            try:
                return await self._recognize_in(self._large, content, request)
            finally:
                self._num_large -= 1
        finally:
            self._num_waiting -= 1

    async def _recognize_in(
        self, places: asyncio.Semaphore, content: bytes, request: Request
    ) -> dict[str, Any]:
        async with places:
            if await request.is_disconnected():
                raise ClientDisconnect
            return await asyncio.to_thread(self.recognize, content)

    def recognize(self, content: bytes) -> dict[str, Any]:
        """Says what a picture shows."""
        try:
            image = recognizer.see(content, 'picture')
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        (prediction,) = self._recognizer.predict_images([image])
        names = self._recognizer.class_names
        probabilities = prediction.probabilities.tolist()
        seen = _to_png(Image.fromarray(prediction.image[..., 0]))
        return {
            'prediction': names[prediction.label],
            'confidence': prediction.confidence,
            'runner_up': names[prediction.runner_up],
            'probabilities': dict(zip(names, probabilities, strict=True)),
            'image': 'data:image/png;base64,' + base64.b64encode(seen).decode(),
        }


class _Held:
    """The bytes that one upload holds, beyond its beginning."""

    def __init__(self, desk: _Desk):
        self.count = 0
        self._desk = desk

    def grow_to(self, size: int) -> None:
        growth = max(0, size - _BEGINNING) - self.count
        self.count += growth
        self._desk.hold(growth)


async def _read(request: Request, held: _Held) -> bytes:
    """Reads the picture of a request, be it in a form or the body itself."""
    length = request.headers.get('content-length', '')
    if length.isdecimal() and int(length) > MOST_BYTES:
        raise _too_large()
    stream = _stream(request, held)
    kind = request.headers.get('content-type', '').lower()
    if not kind.startswith('multipart/form-data'):
        content = bytearray()
        async for chunk in stream:
            content += chunk
        return bytes(content)
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=10)
    parser.spool_max_size = MOST_BYTES  # rather than a file on the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        message = f'form: {error.message}; allowed: one picture as a file'
        raise HTTPException(400, message) from error
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, 'form: found no file; allowed: one picture as a file')
    return await files[0].read()


async def _stream(request: Request, held: _Held) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            raise _too_large()
        held.grow_to(size)
        yield chunk


def _count_pixels(content: bytes) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(io.BytesIO(content), formats=pictures.FORMATS) as image:
                return image.width * image.height
    except UnidentifiedImageError as error:
        allowed = ', '.join(pictures.FORMATS)
        message = f'picture: found another kind of file; allowed: {allowed}'
        raise HTTPException(415, message) from error
    except Exception:  # whatever Pillow makes of damaged files, `see` will say it
        return 0


def _too_large() -> HTTPException:
    message = f'upload: found more than {MOST_BYTES >> 20} MiB; allowed: no more'
    return HTTPException(413, message)


def _busy() -> HTTPException:
    message = 'server: found too many uploads at once; allowed: another try in a second'
    return HTTPException(503, message, {'Retry-After': '1'})


async def _say_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        # What is left of an upload the server reads and throws away, for a while: clients
        # hear an answer only when they have sent all.
        details = {
            404: f'path: found {request.url.path!r}; allowed: /, /docs, /predict',
            405: f'method: found {request.method} of {request.url.path}; allowed: another',
        }
        detail = details.get(error.status_code, error.detail)
        return _to_json(error.status_code, {'error': detail}, error.headers)
    if isinstance(error, ClientDisconnect):  # nobody hears it
        return _to_json(400, {'error': 'upload: found its end too early; allowed: all'})
    return _to_json(500, {'error': 'server: found a fault of its own, which is logged'})


def _to_json(
    status: int, content: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        json.dumps(content),
        status,
        {
            'X-Content-Type-Options': 'nosniff',
            'Cache-Control': 'no-store',
            **(headers or {}),
        },
        'application/json',
    )


def _draw_example() -> bytes:
    image = Image.new('L', (280, 280), 255)
    ImageDraw.Draw(image).line([(90, 60), (190, 60), (130, 220)], fill=0, width=16)
    return _to_png(image)


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()
