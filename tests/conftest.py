"""Shared fixtures; every test runs with jaxtyping's shape annotations checked."""

import os
import pathlib
import subprocess
import sys

import hypothesis
import jax
import jaxtyping
import pytest

# Before the first import of the package: wrong shapes in a signature then fail a test.
jaxtyping.install_import_hook('mnist_flax', 'beartype.beartype')

# On a GPU: two processes share its memory, and products are not rounded to TF32.
os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
jax.config.update('jax_default_matmul_precision', 'highest')

# A busy machine is no failure.
hypothesis.settings.register_profile(
    'patient', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile('patient')

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
