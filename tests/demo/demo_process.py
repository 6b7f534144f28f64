"""``scripts/demo.py`` as a process, for the tests that talk to it."""

import contextlib
import pathlib
import subprocess
import sys
import types

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def serve(first='', lives=True, flags=()):
    """Starts it at a free port, after the code ``first``.

    If it ``lives``, it must do so to the end, and print no errors.
    """
    run = "import runpy; runpy.run_path('scripts/demo.py', run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, '-c', f'{first}\n{run}', '--port=0', *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        port = int(url.rpartition(':')[2])
        server = types.SimpleNamespace(url=url, port=port, process=process)
        yield server
        assert process.poll() is None or not lives, process.stderr.read()
    finally:
        process.kill()
        _, errors = process.communicate()
    server.errors = errors
    assert errors == '' or not lives
