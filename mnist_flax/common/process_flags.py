"""Flags with which several processes join in one run, or divide many among them."""

from absl import flags

from mnist_flax.common import worker
from mnist_flax.common.errors import UserError, require

flags.disclaim_key_flags()  # so that --help counts these among the command's own flags


def define_hosts() -> None:
    """Defines the flags with which several processes join in one run."""
    flags.DEFINE_bool(
        'distributed',
        False,
        'Join the other processes of this job, which the cluster describes (Slurm, Open '
        'MPI, Kubernetes, TPU pods). Start the same command in each process.',
    )
    flags.DEFINE_string(
        'coordinator_address',
        None,
        'Join --num_processes processes, without a cluster that describes them: host:port '
        'of process 0, the same in each. Needs --process_id too.',
    )
    flags.DEFINE_integer(
        'num_processes', None, 'How many processes join in the run.', lower_bound=1
    )
    flags.DEFINE_integer(
        'process_id', None, 'Number of this process, counted from 0.', lower_bound=0
    )
    flags.DEFINE_integer(
        'host_timeout',
        300,
        'How many seconds to wait for the other processes at the start.',
        lower_bound=1,
    )


def define_workers() -> None:
    """Defines the flags with which several processes divide the runs among them."""
    flags.DEFINE_string(
        'worker',
        '',
        'Be this one of --num_workers processes, counted from 0, that share the workdir '
        "and train one free group of runs after the other; 'auto' takes the number from a "
        'Slurm array or an indexed job of Kubernetes. Whoever finishes the last group '
        'writes the report.',
    )
    flags.DEFINE_integer('num_workers', None, 'How many workers there are.', lower_bound=1)
    flags.DEFINE_bool(
        'launched',
        False,
        'With --worker: scripts/launch.py has made the workdir, which must be there.',
    )
    flags.DEFINE_bool(
        'gather', False, 'Write the report of the runs that workers have trained.'
    )
    flags.DEFINE_bool(
        'unfinished',
        False,
        'With --gather: report the runs that are finished, though others are not.',
    )


def check(values: flags.FlagValues) -> None:
    """Checks that those flags fit together which a command has.

    Raises:
      UserError: They do not.
    """
    if 'distributed' in values:
        _check_hosts(values)
    if 'worker' in values:
        _check_workers(values)


def _check_hosts(values: flags.FlagValues) -> None:
    names = ('coordinator_address', 'num_processes', 'process_id')
    missing = [f'--{name}' for name in names if values[name].value is None]
    if missing and len(missing) < len(names):
        wanted = ', '.join(f'--{name}' for name in names)
        verb = 'is' if len(missing) == 1 else 'are'
        raise UserError(f'{" and ".join(missing)} {verb} missing; give all of {wanted}')
    require(
        bool(missing) or values.process_id < values.num_processes,
        f'--process_id: found {values.process_id}; allowed: 0 to '
        f'{(values.num_processes or 1) - 1}, as --num_processes={values.num_processes}',
    )


def _check_workers(values: flags.FlagValues) -> None:
    shares = 'worker' if values.worker else 'gather' if values.gather else ''
    others = ['distributed', 'coordinator_address', 'profile']
    others += ['gather', 'unfinished'] if values.worker else []
    for name in others if shares else ():
        require(
            name not in values or not values[name].value,
            f'--{name}: it does not go with --{shares}; leave one of them out',
        )
    require(
        not values.unfinished or bool(shares), '--unfinished: it goes with --gather only'
    )
    for name in ('num_workers', 'launched'):
        require(
            not values[name].value or bool(values.worker),
            f'--worker is missing; give it with --{name}',
        )
    if values.worker:
        worker.read(values.worker, values.num_workers)
    require(
        not shares or values['workdir'].present > 0,
        f'--workdir is missing; with --{shares} name the folder of all workers',
    )
