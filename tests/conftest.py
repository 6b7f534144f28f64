"""Shared fixtures; every test runs with jaxtyping's shape annotations checked."""

import contextlib
import os
import subprocess
import sys

import filelock
import hypothesis
import jax
import jaxtyping
import platformdirs
import pytest
from repository import ROOT

# Before the first import of the package: wrong shapes in a signature then fail a test.
jaxtyping.install_import_hook('mnist_flax', 'beartype.beartype')

# What an earlier test, or run of the tests, has compiled is loaded, as by the commands.
cache = str(platformdirs.user_cache_path('mnist_flax') / 'compiled')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', cache)
jax.config.update('jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR'])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)

# Simulated devices, for tests of several in one process.
jax.config.update('jax_num_cpu_devices', 8)

# On a GPU: two processes share its memory, and products are not rounded to TF32.
os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
jax.config.update('jax_default_matmul_precision', 'highest')

# A busy machine is no failure.
hypothesis.settings.register_profile(
    'patient', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile('patient')


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
def tensorflow(tmp_path_factory):
    """A Python that has TFDS and TensorFlow, which the tests' own does not have."""
    # Once for all processes of a run of the tests: it takes a minute.
    root = tmp_path_factory.getbasetemp()
    root = root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root
    python = root / 'tensorflow/bin/python'
    with filelock.FileLock(root / 'tensorflow.lock'):
        if not python.exists():
            subprocess.run([sys.executable, '-m', 'venv', python.parents[1]], check=True)
            names = ['tensorflow-cpu', 'tensorflow-datasets', 'importlib_resources']
            install = [python, '-m', 'pip', 'install', '-q', *names, 'pillow']
            subprocess.run(install, check=True)
    return python


@pytest.fixture
def without_figures(monkeypatch):
    """Reports lack their figures, which take most of the time of a short run."""
    from mnist_flax.reporting import reports

    monkeypatch.setattr(reports, 'render_figures', lambda dataset, results: {})


@pytest.fixture(scope='session')
def mnist():
    """The real MNIST, whole."""
    from mnist_flax.data import datasets

    return datasets.load('mnist', '', 'train', 'test', 'test', 0)


@pytest.fixture(scope='module')
def recipe():
    """A small network, trained by Adam."""
    # XLA's own convolution: it compiles fastest, and test_ops compares the others with it.
    from small_runs import create_recipe

    return create_recipe((4, 8), 16)


@pytest.fixture(scope='module')
def mesh():
    """One device."""
    from mnist_flax.training import devices

    return devices.make_mesh(1, batch_size=1)


@pytest.fixture(scope='module')
def examples(mesh, mnist):
    """The first 100 training images and labels, on that device."""
    from mnist_flax.training import devices

    return devices.replicate(mesh, tuple(mnist.train.slice(0, 100)))


@pytest.fixture
def forbid_compilation():
    """A context in which it is a failure to compile."""

    @contextlib.contextmanager
    def forbid():
        def fail(*arguments, **keywords):
            raise AssertionError('compiled something')

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax._src.compiler, 'compile_or_get_cached', fail)
            yield

    return forbid
