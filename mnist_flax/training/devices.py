"""The devices that share a run, on one host or several."""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnist_flax.common import backend, memory, switches
from mnist_flax.common.errors import require
from mnist_flax.models import cpu_conv

# The axes of the mesh along which runs, and the batches of a run, are divided.
RUN = 'run'
DATA = 'data'

# With fewer examples a step, a core of a CPU is better used by sharing every operation.
_EXAMPLES_PER_CORE = 32


def make_mesh(num_devices: int, batch_size: int, num_runs: int = 1) -> Mesh:
    """Makes the mesh of devices that divide runs, and their batches, among them.

    As many devices as possible have runs of their own, which then need not wait for each
    other; those left over share the batches of a run.

    On a CPU the cores can count as a device each. JAX settles how many do when it first
    looks for devices, so that only the first call of a process, before any other work
    with JAX, can ask for more than one.

    Args:
      num_devices: How many; 0 stands for all devices of all hosts, and on a single host's
        CPU for as many as divide the runs, or a batch evenly into 32 examples or more.
      batch_size: Examples a step, over all devices of a run.
      num_runs: Runs side by side.

    Returns:
      A mesh with the axes ``RUN`` and ``DATA``.

    Raises:
      UserError: There are fewer devices, a host would be left without one, or they cannot
        divide a batch evenly.
    """
    described = backend.described()
    devices = described.devices if described else _find_devices()
    require(
        0 <= num_devices <= len(devices),
        f'config.num_devices: found {num_devices}; allowed: 0 to {len(devices)}, the '
        f'number of {devices[0].platform} devices',
    )
    one_host = backend.num_hosts() == 1
    require(
        one_host or num_devices in (0, len(devices)),
        f'config.num_devices: found {num_devices}; allowed: 0 or {len(devices)}, all '
        f'devices of the {backend.num_hosts()} processes',
    )
    if num_devices == 0 and one_host and backend.platform() == 'cpu':
        runs = min(num_runs, len(devices))
        most = min(len(devices) // runs, max(1, batch_size // _EXAMPLES_PER_CORE))
        shares = next(n for n in range(most, 0, -1) if batch_size % n == 0)
    else:
        num_devices = num_devices or len(devices)
        # The devices of a host are neighbours: with enough runs each host has its own.
        most = min(num_runs, num_devices)
        runs = next(n for n in range(most, 0, -1) if num_devices % n == 0)
        shares = num_devices // runs
    require(
        batch_size % shares == 0,
        f'config.batch_size: found {batch_size}; allowed: a multiple of {shares}, the '
        'number of devices that share it (see config.num_devices)',
    )
    return jax.make_mesh(
        (runs, shares),
        (RUN, DATA),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=devices[: runs * shares],
    )


def _find_devices() -> Sequence[jax.Device]:
    already_set = (
        jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
        or 'xla_force_host_platform_device_count' in os.environ.get('XLA_FLAGS', '')
    )
    if not already_set and not jax.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # JAX has already looked for devices
            jax.config.update('jax_num_cpu_devices', count_cores())
    return switches.list_devices()


def count_cores() -> int:
    """Counts the cores that this process may run on, which can be fewer than there are."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def platform(mesh: Mesh) -> str:
    """Names the kind of the devices, such as ``'cpu'`` or ``'tpu'``."""
    described = backend.described()
    return described.platform if described else mesh.devices.flat[0].platform


def is_cpu(mesh: Mesh) -> bool:
    """Tells whether the devices are cores of a CPU, where returning to Python is cheap."""
    return platform(mesh) == 'cpu'


def memory_per_device(mesh: Mesh) -> float:
    """Finds how many bytes JAX may use on each device.

    On a CPU that is its part of what the machine, or the container, has; infinite where a
    device does not say.
    """
    if described := backend.described():
        return described.memory
    if is_cpu(mesh):
        return memory.count_bytes() / len(mesh.local_devices)
    return float((mesh.local_devices[0].memory_stats() or {}).get('bytes_limit', math.inf))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies arrays of the host, the same on every host, to every device of the mesh."""
    return _place(tree, NamedSharding(mesh, PartitionSpec()))


def split_runs(mesh: Mesh, tree: Any) -> Any:
    """Copies arrays of the host to the devices, each the part of its runs (first axis)."""
    return _place(tree, NamedSharding(mesh, PartitionSpec(RUN)))


def describe_runs(mesh: Mesh, tree: Any) -> Any:
    """Describes arrays as `split_runs` places them: a program can be made for these."""
    return _describe(tree, NamedSharding(mesh, PartitionSpec(RUN)))


def describe_replicated(mesh: Mesh, tree: Any) -> Any:
    """Describes arrays as `replicate` places them."""
    return _describe(tree, NamedSharding(mesh, PartitionSpec()))


def _describe(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(
        lambda of: jax.ShapeDtypeStruct(of.shape, of.dtype, sharding=sharding), tree
    )


def fetch(tree: Any) -> Any:
    """Copies arrays to the host; of several hosts each gets what the others have, too.

    These must all call it, with the same arrays in the same order.
    """
    if jax.process_count() == 1:
        return jax.device_get(tree)

    def gather(array: Any) -> Any:
        if not isinstance(array, jax.Array) or array.is_fully_addressable:
            return jax.device_get(array)
        return multihost_utils.process_allgather(array, tiled=True)

    return jax.tree.map(gather, tree)


def broadcast_text(text: str) -> str:
    """Gives every host the text of the first one."""
    if jax.process_count() == 1:
        return text
    from mnist_flax.hosts import supervisor

    supervisor.meet()  # so that it is said who is waited for, if one compiles longer
    data = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    buffer = data if jax.process_index() == 0 else np.zeros(size, np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(buffer)).decode()


def broadcast_arrays(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Gives every host the arrays of the first one, which have the same shapes on all."""
    if jax.process_count() == 1:
        return arrays
    return multihost_utils.broadcast_one_to_all(arrays)


def _place(tree: Any, sharding: NamedSharding) -> Any:
    def copy(array: Any) -> jax.Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(copy, tree)  # each host its own; device_put would send them round


# Bounded, since what has been compiled for one of many variants is seldom wanted again.
@functools.lru_cache(maxsize=64)
def on_mesh(
    function: Callable[..., Any],
    mesh: Mesh,
    num_by_run: int,
    donate: tuple[int, ...] = (),
    **static: Any,
) -> Callable[..., Any]:
    """Compiles a function of one run for all runs and devices of the mesh.

    Which part of the work is a device's own, the function finds from its index on the axis
    ``DATA``; what it returns must be the same on every device along it.

    Args:
      function: Function of arrays, and of ``static`` by name.
      mesh: The devices.
      num_by_run: How many of the first arguments have an axis of runs in front; the
        others are the same for all runs, and on all devices. Results have that axis too.
      donate: Positions of the arguments whose memory the results may take; they are gone
        after the call.
      **static: Settings that are compiled in.

    Returns:
      The compiled function of arrays; the same one whenever the arguments are the same.
    """

    @functools.wraps(function)
    def on_device(by_run: tuple[Any, ...], shared: tuple[Any, ...]) -> Any:
        def one_run(*own: Any) -> Any:
            return function(*own, *shared, **static)

        if len(jax.tree.leaves(by_run)[0]) > 1:
            with backend.several_runs(True):
                return jax.vmap(one_run)(*by_run)
        # A device with one run computes just what it would for a single one.
        result = one_run(*jax.tree.map(lambda array: array[0], by_run))
        return jax.tree.map(lambda array: array[None], result)

    runs, replicated = PartitionSpec(RUN), PartitionSpec()

    def on_all(*arguments: Any) -> Any:
        return jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(runs, replicated),
            out_specs=runs,
            check_vma=False,  # custom gradients of `ops` state no axes
        )(arguments[:num_by_run], arguments[num_by_run:])

    return jax.jit(
        functools.wraps(function)(on_all),
        donate_argnums=donate,
        compiler_options=cpu_conv.COMPILER_OPTIONS if is_cpu(mesh) else None,
    )
