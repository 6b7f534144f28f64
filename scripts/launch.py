"""Starts workers that divide the runs of a config, a sweep or an ablation among them.

Where Slurm is, they are the tasks of an array, which are requeued after preemption, at the
time limit and when a node dies; a job after them writes the report. Elsewhere they are
processes of this machine. They share the workdir. With --status it says how far they are.
"""

import math
import pathlib
import shlex
import sys

from absl import flags

from mnist_flax.common import cli, command_lines

_TYPED = [*sys.argv]  # of which `define_config` takes some away

cli.define_config(default='configs/default.py')
_WORKDIR = flags.DEFINE_string(
    'workdir',
    'outputs/shared',
    'Folder that all workers share, on a network drive if they are on several machines.',
)
_NUM_WORKERS = flags.DEFINE_integer(
    'num_workers', 0, 'How many workers to start.', lower_bound=0
)
_STATUS = flags.DEFINE_bool(
    'status', False, 'Say how far the groups of runs in the workdir are.'
)
_SEEDS = flags.DEFINE_integer(
    'seeds', 5, 'Of an ablation: runs of each variant.', lower_bound=1
)
_VARIANTS = flags.DEFINE_list(
    'variants', [], 'Of an ablation: which variants to train; all if empty.'
)
_CLUSTER = flags.DEFINE_enum(
    'cluster', 'auto', ['auto', 'slurm', 'local'], 'Where to start workers.'
)
_PARTITION = flags.DEFINE_string('partition', None, "Slurm's partition.")
_GPUS = flags.DEFINE_integer('gpus_per_task', 0, 'GPUs of each worker.', lower_bound=0)
_CPUS = flags.DEFINE_integer('cpus_per_task', None, 'Cores of each worker.', lower_bound=1)
_MEMORY = flags.DEFINE_float(
    'mem_gb', None, 'GiB of memory of each worker, under Slurm.', lower_bound=0.1
)
_HOURS = flags.DEFINE_float(
    'hours',
    None,
    'Time limit of each worker, which then is requeued; under Slurm 24 if not given.',
    lower_bound=1 / 60,
)
_SBATCH = flags.DEFINE_multi_string(
    'sbatch',
    [],
    "Another parameter of Slurm's sbatch, such as account=vision or exclusive; the flag "
    'can be given several times.',
)


def main() -> None:
    """Starts the workers, or prints how far they are."""
    # Imported here so that --help and a mistyped flag are answered at once.
    from mnist_flax.cluster import agreements, launching, status
    from mnist_flax.common.errors import UserError, require

    config, workdir = flags.FLAGS.config, _WORKDIR.value
    if _STATUS.value:
        print(status.describe(workdir))
        return
    require(bool(_NUM_WORKERS.value), '--num_workers is missing; say how many to start')
    for name, number in (('hours', _HOURS.value), ('mem_gb', _MEMORY.value)):
        require(number is None or math.isfinite(number), f'--{name}: found {number}')
    resources = launching.Resources(
        partition=_PARTITION.value,
        cpus_per_task=_CPUS.value,
        gpus_per_task=_GPUS.value,
        mem_gb=_MEMORY.value,
        hours=_HOURS.value,
        sbatch=dict(_split(word) for word in _SBATCH.value),
    )
    cluster = launching.choose_cluster(_NUM_WORKERS.value, resources, _CLUSTER.value)
    from mnist_flax.cluster import jobs, shared_ablations, shared_runs  # with JAX

    is_ablation = 'recipe' in config and 'variants' in config
    job: jobs.Job = shared_runs.Runs(config)
    if is_ablation:
        job = shared_ablations.Ablation(config, _SEEDS.value, _VARIANTS.value)
    jobs.imitate_devices(job)
    shared = jobs.make(job, workdir)
    folder = shared.folder
    running = status.list_running(shared) if cluster == 'local' else {}
    require(
        not running,
        f'--workdir: workers are running ({", ".join(running)}); start others on this '
        'machine when these have ended, so that no two have the same cores or GPUs',
    )
    words = command_lines.arrange(_TYPED)[1:]
    fields = [word for word in words if word.startswith('--config')]
    program = ['-m', 'mnist_flax.main']
    if is_ablation:
        program = [str(pathlib.Path(__file__).with_name('ablate.py').resolve())]
        fields += [f'--seeds={_SEEDS.value}', f'--variants={",".join(_VARIANTS.value)}']
    command = [sys.executable, *program, *fields, f'--workdir={folder}']
    try:
        started = launching.launch(command, folder, _NUM_WORKERS.value, resources, cluster)
    except UserError:
        agreements.remove_unused(folder)  # so that other settings can be tried there
        raise
    this = [sys.executable, str(pathlib.Path(__file__).resolve())]
    print(
        f'started: {started}\nwhat they print is in {folder / launching.LOGS}\n'
        f'how far they are: {shlex.join([*this, f"--workdir={folder}", "--status"])}'
    )


def _split(parameter: str) -> tuple[str, str | bool]:
    name, equals, value = parameter.partition('=')
    return name, value if equals else True


if __name__ == '__main__':
    cli.run(main)
