"""Shared fixtures; every test runs with jaxtyping's shape annotations checked."""

import os
import pathlib
import subprocess
import sys

import jaxtyping
import pytest

# Before the first import of the package: wrong shapes in a signature then fail a test.
jaxtyping.install_import_hook('mnist_flax', 'beartype.beartype')

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='session')
def command():
    """Runs a command of the project in a subprocess, from the repository's root."""

    def run(*arguments, cwd=ROOT, timeout=300, **environment):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope='session')
def mnist():
    """The real MNIST, whole."""
    from mnist_flax import data

    return data.load('mnist', '', 'train', 'test', 'test', 0)
