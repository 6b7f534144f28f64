"""Fixtures of the tests of preparation."""

import functools

import pytest
from prepared_sets import AS_THEY_ARE, read_back

from mnist_flax.common import caches
from mnist_flax.preparation import prepare as preparation
from mnist_flax.preparation.sources import Options


@pytest.fixture(autouse=True)
def _no_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setattr(caches.platformdirs, 'user_cache_path', lambda name: folder)


@pytest.fixture
def prepare(tmp_path):
    """Prepares 'mine' and returns what is read of a split."""

    def run(source, *, file_format='tfrecord', class_names=(), settings=None, **options):
        root = tmp_path / 'tfds'
        preparation.prepare(
            source,
            root,
            'mine',
            file_format,
            class_names,
            Options(**options),
            settings or AS_THEY_ARE,
        )
        return functools.partial(read_back, root)

    return run
