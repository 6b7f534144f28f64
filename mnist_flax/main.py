"""Trains and tests a network: ``python -m mnist_flax.main --config=configs/default.py``."""

from absl import flags

from mnist_flax.common import cli, process_flags, waiting

cli.define_config(default='configs/default.py')
process_flags.define_hosts()
process_flags.define_workers()
_WORKDIR = flags.DEFINE_string(
    'workdir',
    'outputs',
    'Folder for the report, the network and the checkpoints. A run there with the same '
    'settings is resumed; one with other settings is refused.',
)
_PROFILE = flags.DEFINE_integer(
    'profile',
    0,
    'Write a profile of the first steps of this epoch, counted from 1, into '
    'WORKDIR/profile, and print the operations that took most time.',
    lower_bound=0,
)


def main() -> None:
    """Runs `train_and_evaluate` with the flags."""
    values = flags.FLAGS
    hosts = values.coordinator_address, values.num_processes, values.process_id
    is_shared = values.distributed or values.coordinator_address is not None
    if is_shared:
        from mnist_flax.hosts import supervisor

        supervisor.supervise(values.config, *hosts, values.host_timeout)
    waiting.say('starting JAX')
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.train import train_and_evaluate

    if is_shared:
        from mnist_flax.hosts import joining

        joining.join_hosts(*hosts, values.host_timeout)
    if values.worker or values.gather:
        from mnist_flax.cluster import jobs, shared_runs

        jobs.run_flags(shared_runs.Runs(values.config), _WORKDIR.value, values)
    else:
        train_and_evaluate(values.config, _WORKDIR.value, _PROFILE.value)


if __name__ == '__main__':
    cli.run(main)
