"""How a process joins the others of its run, before JAX is used."""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from mnist_flax.common.errors import UserError
from mnist_flax.hosts import supervisor


def join_hosts(
    coordinator_address: str | None,
    num_processes: int | None,
    process_id: int | None,
    seconds: int = 300,
) -> None:
    """Joins the processes of a run, on one or several hosts, before JAX is used.

    Each then sees the devices of all, and has to run the same program.

    Args:
      coordinator_address: ``host:port`` of process 0; None if the cluster knows, as Slurm,
        Open MPI, Kubernetes and TPU pods do.
      num_processes: How many processes there are, or None likewise.
      process_id: Number of this one, or None likewise.
      seconds: How long to wait for the others.

    Raises:
      UserError: The others cannot be found or reached.
    """
    # Its handler of SIGTERM, which waits to be asked, would take the place of ours.
    jax.config.update('jax_enable_preemption_service', False)
    supervisor.meet()
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            initialization_timeout=seconds,
        )
    except (RuntimeError, ValueError) as error:
        where = (
            f'process 0 at {coordinator_address!r}' if coordinator_address else 'a cluster'
        )
        raise UserError(
            f'--coordinator_address: cannot reach {where} ({error}); give host:port of '
            'process 0 of this run, or --distributed in a job of Slurm, Open MPI, '
            'Kubernetes or a TPU pod'
        ) from error
    _connect()


def _connect() -> None:
    """Opens the connections between the devices of all hosts.

    They are opened by the first operation that hosts share, which on a CPU waits 30 seconds
    for the others; a host that compiles more slowly would come too late. Later operations
    wait for each other without limit.
    """
    mesh = jax.make_mesh((jax.device_count(),), ('device',))
    everywhere = PartitionSpec('device')
    add = jax.shard_map(
        lambda ones: jax.lax.psum(ones, 'device'),
        mesh=mesh,
        in_specs=everywhere,
        out_specs=PartitionSpec(),
    )
    sharding = NamedSharding(mesh, everywhere)
    ones = jax.make_array_from_callback(
        (mesh.size,), sharding, np.ones(mesh.size).__getitem__
    )
    compiled = jax.jit(add).lower(ones).compile()
    supervisor.meet()
    jax.block_until_ready(compiled(ones))  # between all devices
    multihost_utils.sync_global_devices('connect')  # between one device of each host
