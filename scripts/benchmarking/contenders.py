"""The contenders' programs: started, and asked with a line of JSON at a time."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from mnist_flax.common.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = {
    'pytorch': ['pytorch.py'],
    'pytorch_compile': ['pytorch.py', '--compile'],
    'keras': ['keras_tensorflow.py'],
}


@contextlib.contextmanager
def start(
    name: str, root: pathlib.Path, scratch: pathlib.Path, peers_python: str
) -> Iterator[Callable[..., Any]]:
    """Runs a contender: one of `PEERS`, or by another name the library of a checkout.

    Yields:
      A function that has a method called, see `protocol.serve`, and returns the seconds
      that it took and its result; at first, without a method, the packages' versions.

    Raises:
      UserError: The program has ended, such as for want of a package.
    """
    file, *options = PEERS.get(name, ['ours.py'])
    path = next(root.glob(f'scripts/*/{file}'))  # earlier commits have another folder
    python = peers_python if name in PEERS else sys.executable
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    with (folder / 'log').open('w+') as log:
        process = subprocess.Popen(
            [python, path, scratch / 'images.npz', *options],
            env=environment(root, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the benchmark alone
        )

        def ask(command: str = '', **arguments: int | str) -> Any:
            if command:
                request = json.dumps({'command': command, **arguments})
                with contextlib.suppress(BrokenPipeError):  # then there is no answer
                    print(request, file=process.stdin, flush=True)
            assert process.stdout
            if answer := process.stdout.readline():
                return json.loads(answer)
            log.seek(0)
            last = ['it ended', *log.read().strip().splitlines()][-1]
            raise UserError(f'{name}: {last}')

        try:
            yield ask
        finally:
            process.kill()  # it has nothing to finish
            process.communicate()


def environment(root: pathlib.Path, cache: pathlib.Path) -> dict[str, str]:
    """Has a program import a checkout, and keep what it compiles in a folder."""
    return os.environ | {
        'PYTHONPATH': f'{root}{os.pathsep}{root / "scripts"}',
        'JAX_COMPILATION_CACHE_DIR': str(cache),
        'TORCHINDUCTOR_CACHE_DIR': str(cache),
    }
