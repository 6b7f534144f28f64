"""Arrays and plain values as Orbax's files, by the first of several hosts alone."""

import math
import pathlib
from collections.abc import Mapping
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
    with _open() as checkpointer:
        checkpointer.save(
            path,
            args=ocp.args.Composite(
                arrays=ocp.args.StandardSave(dict(arrays)),
                about=ocp.args.JsonSave(dict(about)),
            ),
        )


def count_bytes(path: pathlib.Path) -> int:
    """Counts the bytes that the arrays of a folder take in memory, without reading them."""
    described = ocp.StandardCheckpointHandler().metadata(path.absolute() / 'arrays')
    return sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(described.tree)
    )


def load(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save` has written."""
    with _open() as checkpointer:
        items = checkpointer.restore(
            path.absolute(),
            args=ocp.args.Composite(
                arrays=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
            ),
        )
    return dict(items.arrays), dict(items.about)


def _open() -> ocp.Checkpointer:
    options = ocp.CompositeOptions(multiprocessing_options=_FIRST_HOST)
    handler = ocp.CompositeCheckpointHandler(composite_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=_FIRST_HOST)
