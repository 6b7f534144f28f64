"""What programs are made for: which devices, and one run on each or several."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax


class Described(NamedTuple):
    """Devices that are not here, for which programs can be compiled but not run."""

    devices: Sequence[jax.Device]
    platform: str  # in JAX's words: 'cpu', 'gpu' or 'tpu'
    memory: float  # bytes that JAX may use on each


_assumed: list[Described] = []
_several_runs: list[bool] = []


@contextlib.contextmanager
def assume(described: Described) -> Iterator[None]:
    """Has all programs made for devices that are not here, instead of those of JAX."""
    _assumed.append(described)
    try:
        yield
    finally:
        _assumed.pop()


def described() -> Described | None:
    """Returns what is assumed, if anything is."""
    return _assumed[-1] if _assumed else None


def platform() -> str:
    """Names the kind of the devices in JAX's words: ``'cpu'``, ``'gpu'`` or ``'tpu'``."""
    return _assumed[-1].platform if _assumed else jax.default_backend()


@contextlib.contextmanager
def several_runs() -> Iterator[None]:
    """Has programs made in the form that is best for several runs side by side."""
    _several_runs.append(True)
    try:
        yield
    finally:
        _several_runs.pop()


def batches_kernels() -> bool:
    """Tells whether to avoid convolutions, which several runs would make one of groups.

    ``vmap`` over kernels makes a convolution of as many groups as there are runs, which
    GPUs compute slowly, its gradient most of all (jax#26266, jax#26568).
    """
    return bool(_several_runs) and platform() == 'gpu'
