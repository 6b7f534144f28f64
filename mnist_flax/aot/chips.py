"""The chips that programs can be compiled for without being there."""

import importlib.util
import os
import pathlib
from typing import NamedTuple

import jax
from jax.experimental import topologies

from mnist_flax.common.backend import Described
from mnist_flax.common.errors import UserError, require

_GIB = 2**30


class _Tpu(NamedTuple):
    name: str  # JAX's
    memory: float  # bytes that its compiler gives to a program


_TPUS = {
    'tpu_v5e': _Tpu('v5e', 15.75 * _GIB),
    'tpu_v6e': _Tpu('v6e', 31.25 * _GIB),
}
# Chips are joined in rectangles, by number.
_TPU_SHAPES = {
    1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8', 128: '8x16',
    256: '16x16',
}  # fmt: skip

_H100 = pathlib.Path(__file__).parent / 'h100.textproto'
_H100_MEMORY = 0.75 * 84942979072  # bytes; JAX takes three quarters of a GPU's


def describe(chip: str, num_devices: int) -> Described:
    """Describes devices to JAX's compilers.

    Args:
      chip: One of ``aot.CHIPS``.
      num_devices: How many of them are joined.

    Raises:
      UserError: There are no such devices, or the compiler for them is not installed.
    """
    if chip in _TPUS:
        require(
            num_devices in _TPU_SHAPES,
            f'--devices: found {num_devices}; allowed: {", ".join(map(str, _TPU_SHAPES))}, '
            f'the sizes in which {chip} comes',
        )
        described = _describe_tpus(_TPUS[chip], num_devices)
    else:
        require(
            num_devices == 1,
            f'--devices: found {num_devices}; allowed: 1, since without a GPU XLA compiles '
            'for one alone',
        )
        described = _describe_h100()
    # Executables of other devices would only fill the cache.
    jax.config.update('jax_enable_compilation_cache', False)
    return described


def _describe_tpus(tpu: _Tpu, num_devices: int) -> Described:
    _require_package('libtpu', 'tpu')
    os.environ |= {
        'ALLOW_MULTIPLE_LIBTPU_LOAD': 'true',  # beside a process that compiles likewise
        # It would ask the network for these, and wait.
        'TPU_SKIP_MDS_QUERY': '1',
        'TPU_ACCELERATOR_TYPE': 'v5litepod-4',
        'TPU_WORKER_HOSTNAMES': 'localhost',
    }
    one_chip = {'chips_per_host_bounds': [1, 1, 1]} if num_devices == 1 else {}
    topology = topologies.get_topology_desc(
        platform='tpu', topology_name=f'{tpu.name}:{_TPU_SHAPES[num_devices]}', **one_chip
    )
    return Described(tuple(topology.devices), 'tpu', tpu.memory)


def _describe_h100() -> Described:
    _require_package('jax_cuda13_plugin', 'gpu')
    topology = topologies.get_topology_desc(
        platform='cuda',
        topology_name='1x1x1',
        topology='1x1x1',
        target_config=_H100.read_text(),
    )
    return Described(tuple(topology.devices), 'gpu', _H100_MEMORY)


def _require_package(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(
            '--chip: its compiler is not installed; install it: '
            f"pip install -c constraints.txt -e '.[{extra}]'"
        )
