"""The package's reader, loaded once for all tests."""

import functools

from mnist_flax.reading import reader


@functools.cache
def load():
    return reader.load()


def read(source):
    (reading,) = load().read(source)
    return reading
