"""Shared fixtures; every test runs with jaxtyping's shape annotations checked."""

import contextlib
import os
import pathlib
import subprocess
import sys

import hypothesis
import jax
import jaxtyping
import platformdirs
import pytest

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
    from mnist_flax.data.datasets import datasets

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


@pytest.fixture(scope='module')
def server():
    """The demo, listening."""
    from demo_process import serve

    with serve() as server:
        yield server


@pytest.fixture(scope='module')
def browser():
    """A real browser, for the demo's page."""
    from demo_page import CHROMIUM
    from playwright import sync_api

    if CHROMIUM is None:
        pytest.skip('found no Chromium; allowed: apt-get install chromium')
    sync_api.expect.set_options(timeout=30_000)  # milliseconds, as for all else; not 5,000
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


@pytest.fixture
def open_page(browser, server):
    """Opens the page; it must ask nobody else for anything, and report no mistake."""
    with contextlib.ExitStack() as stack:

        def open_(path='/', **options):
            context = stack.enter_context(browser.new_context(**options))
            page = context.new_page()
            mistakes = []

            def note_request(request):
                if not request.url.startswith((server.url, 'data:', 'blob:')):
                    mistakes.append(request.url)

            def note_message(message):
                # Chromium itself notes answers that are errors, and absent ones.
                if not message.text.startswith('Failed to load resource'):
                    mistakes.append(message.text)

            page.on('request', note_request)
            page.on('console', note_message)
            page.on('pageerror', lambda error: mistakes.append(error))
            stack.callback(lambda: pytest.fail(f'{mistakes}') if mistakes else None)
            page.goto(server.url + path)
            return page

        yield open_
