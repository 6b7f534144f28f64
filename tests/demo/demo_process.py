"""``scripts/demo.py`` as a process of its own, for the tests that talk to it."""

import contextlib
import os
import re
import subprocess
import sys
import types

from conftest import ROOT


@contextlib.contextmanager
def serve(*flags, lives=True, **options):
    """Starts it at a free port; if it ``lives``, it does to the end, and without faults."""
    process = subprocess.Popen(
        [sys.executable, 'scripts/demo.py', '--port=0', *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
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


def peak_mebibytes(process):
    """The most memory that it has had, of which the system keeps account."""
    with open(f'/proc/{process.pid}/status') as file:
        (kibibytes,) = re.findall(r'VmHWM:\s+(\d+) kB', file.read())
    return int(kibibytes) / 1024


def num_files(process):
    """Files and sockets that it has open."""
    return len(os.listdir(f'/proc/{process.pid}/fd'))
