"""Arrays and plain values as Orbax's files, by the first of several hosts alone."""

import contextlib
import math
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

# The others do not wait for it.
_FIRST_HOST = ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix='mnist_flax'
)


def save(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes arrays and plain values into a new folder."""
    with _open() as checkpointer, _without_brackets(path) as named:
        checkpointer.save(
            named,
            args=ocp.args.Composite(
                arrays=ocp.args.StandardSave(dict(arrays)),
                about=ocp.args.JsonSave(dict(about)),
            ),
        )


def count_bytes(path: pathlib.Path) -> int:
    """Counts the bytes that the arrays of a folder take in memory, without reading them."""
    with _without_brackets(path) as named:
        described = ocp.StandardCheckpointHandler().metadata(named / 'arrays')
    return sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(described.tree)
    )


def load(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save` has written."""
    with _open() as checkpointer, _without_brackets(path) as named:
        items = checkpointer.restore(
            named,
            args=ocp.args.Composite(
                arrays=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
            ),
        )
    return dict(items.arrays), dict(items.about)


@contextlib.contextmanager
def _without_brackets(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the path of a folder, by a link if there are brackets in it.

    Orbax takes them for a pattern, finds nothing there and says that all is well.
    """
    if '[' not in str(path.absolute()):
        yield path.absolute()
        return
    places = (tempfile.gettempdir(), '/tmp', '/var/tmp')
    place = next((place for place in places if '[' not in place), None)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        if '[' in folder:
            raise ValueError(f'there are brackets in {path} and in {folder}')
        link = pathlib.Path(folder, 'link')
        link.symlink_to(path.parent.absolute(), target_is_directory=True)
        yield link / path.name


def _open() -> ocp.Checkpointer:
    options = ocp.CompositeOptions(multiprocessing_options=_FIRST_HOST)
    handler = ocp.CompositeCheckpointHandler(composite_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=_FIRST_HOST)
