"""Processes that decode pictures, and are ended when one takes too much time or memory.

A small file can keep a decoder at work for hours, or have it take gigabytes. No check of
its header finds all such files, and a thread cannot be ended.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from mnist_flax.common.errors import UserError, require
from mnist_flax.recognition import decoding


class Limits(NamedTuple):
    """What decoding a picture may take."""

    seconds: int
    memory: int  # bytes, with those of Python and its libraries


# The largest pictures that are allowed take up to 2 s and 0.6 GiB on two cores at work.
LIMITS = Limits(seconds=10, memory=2**30)

# Windows has none.
_ALARM = getattr(signal, 'SIGALRM', 0)

_DO: dict[str, Callable[..., Any]] = {
    'decode': decoding.decode,
    'count_pixels': decoding.count_pixels,
}
_START = f'from {__name__} import serve; serve()'

_idle: 'list[_Worker]' = []

if hasattr(os, 'register_at_fork'):  # two processes must not talk to one worker
    os.register_at_fork(after_in_child=_idle.clear)


def decode(
    content: bytes, name: str, exact: bool = False, limits: Limits = LIMITS
) -> decoding.Pixels:
    """Decodes a picture in another process, as `decoding.decode`.

    Args:
      content: As there.
      name: As there.
      exact: As there.
      limits: What it may take.

    Raises:
      UserError: As there; or it takes more than that.
    """
    # Too large a file is refused before it is sent.
    content = content[: decoding.MOST_BYTES + 1]
    answer, pixels = _ask('decode', content, name, limits, {'name': name, 'exact': exact})
    return np.frombuffer(pixels, np.uint8).reshape(answer['shape'])


def count_pixels(content: bytes, name: str, limits: Limits = LIMITS) -> int | None:
    """Reads the size of a picture in another process, as `decoding.count_pixels`.

    Args:
      content: As there.
      name: What to call it in messages.
      limits: What it may take.

    Raises:
      UserError: It takes more than that.
    """
    return _ask('count_pixels', content, name, limits, {})[0]['pixels']


def _ask(
    what: str, content: bytes, name: str, limits: Limits, arguments: dict[str, Any]
) -> tuple[dict[str, Any], bytearray]:
    worker = _take_idle() or _Worker()
    request = {
        'do': what,
        'arguments': arguments,
        'size': len(content),
        'limits': limits,
    }
    try:
        worker.send(request, content)
        answer, pixels = worker.receive()
    except (OSError, ValueError) as error:  # ValueError: half a line of JSON
        too_long = worker.end() == -_ALARM
        raise UserError(
            f'{name}: decoding it takes more than {limits.seconds} s; save it anew, as PNG'
            if too_long
            else f'{name}: the process that decodes it has ended; save it anew, as PNG'
        ) from error
    except BaseException:  # its answer would be taken for that to another request
        worker.end()
        raise
    _idle.append(worker)
    require('error' not in answer, str(answer.get('error')))
    return answer, pixels


def _take_idle() -> '_Worker | None':
    while True:
        try:
            worker = _idle.pop()
        except IndexError:
            return None
        if worker.is_alive():  # the system may have ended it, for lack of memory
            return worker
        worker.end()


class _Worker:
    """A process that runs `serve`, in which one picture after the other is decoded."""

    def __init__(self) -> None:
        try:
            self._process = self._start()
        except OSError as error:
            raise _cannot_start(str(error.strerror)) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self._output: IO[bytes] = self._process.stdout
        if not self._output.readline():  # it says that it has started
            raise _cannot_start(f'exit status {self.end()}')

    def _start(self) -> 'subprocess.Popen[bytes]':
        return subprocess.Popen(
            [sys.executable, '-P', '-c', _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # on which libtiff complains
            env={
                **os.environ,
                'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
                # NumPy's threads, which have nothing to do here, would take 40 MiB each.
                'OPENBLAS_NUM_THREADS': '1',
            },
            # Ctrl-C is not for it: it ends when its input does.
            start_new_session=True,
        )

    def is_alive(self) -> bool:
        """Tells whether the process has not ended."""
        return self._process.poll() is None

    def send(self, request: dict[str, Any], content: bytes) -> None:
        """Sends a picture.

        Raises:
          OSError: The process has ended.
        """
        self._input.write(json.dumps(request).encode() + b'\n')
        self._input.write(content)
        self._input.flush()

    def receive(self) -> tuple[dict[str, Any], bytearray]:
        """Waits for the answer, and for the pixels that follow it.

        Raises:
          OSError: The process has ended.
          ValueError: Likewise.
        """
        answer = json.loads(self._output.readline())
        pixels = bytearray(math.prod(answer.get('shape', [0])))
        if self._output.readinto(pixels) < len(pixels):  # type: ignore[attr-defined]
            raise OSError('it has ended')
        return answer, pixels

    def end(self) -> int:
        """Ends the process, and returns its exit status."""
        self._output.close()
        with contextlib.suppress(OSError):  # what has not been sent
            self._input.close()
        self._process.kill()
        return self._process.wait()


def _cannot_start(reason: str) -> UserError:
    return UserError(f'the process that decodes pictures cannot be started ({reason})')


def serve() -> NoReturn:
    """Answers requests on the standard input until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # so that nothing else gets among the answers
    answers.write(b'{}\n')
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request['size'])
        limits = Limits(*request['limits'])
        _limit_memory(limits.memory)
        _limit_seconds(limits.seconds)
        answer, pixels = _answer(request, content)
        _limit_seconds(0)
        answers.write(json.dumps(answer).encode() + b'\n')
        answers.write(pixels)
        answers.flush()
    sys.exit()


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        result = _DO[request['do']](content, **request['arguments'])
    except UserError as error:
        return {'error': str(error)}, b''
    if isinstance(result, np.ndarray):
        return {'shape': result.shape}, result.tobytes()
    return {'pixels': result}, b''


def _limit_seconds(seconds: int) -> None:
    """Has the system end this process after so many seconds, whatever it is in."""
    if _ALARM:
        signal.alarm(seconds)


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        size = min(size, most)
    with contextlib.suppress(ValueError, OSError):  # macOS does not let it be set
        resource.setrlimit(resource.RLIMIT_AS, (size, most))
