"""Ablation: compares a recipe with variants of it, each of which changes one thing.

Each variant is trained with the same seeds as the recipe, and compared with it seed by
seed on held-out accuracy. Finished runs are kept: the same command continues where an
earlier one ended or was killed.
"""

from absl import flags

from mnist_flax.common import cli, process_flags

cli.define_config(default='configs/ablation.py')
process_flags.define_workers()
_SEEDS = flags.DEFINE_integer(
    'seeds', 5, 'Number of runs of each variant, with the seeds 0, 1, ...', lower_bound=1
)
_VARIANTS = flags.DEFINE_list(
    'variants', [], "Which of the config's variants to train; all if empty."
)
_WORKDIR = flags.DEFINE_string(
    'workdir',
    'outputs/ablation',
    'Folder for results.csv (one row for each run), ablation.md and ablation.png.',
)


def main() -> None:
    """Runs `ablate` with the flags, or a worker's share of it, and prints its table."""
    values = flags.FLAGS
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    if values.worker or values.gather:
        from mnist_flax.cluster import jobs, shared_ablations

        job = shared_ablations.Ablation(values.config, _SEEDS.value, _VARIANTS.value)
        table = jobs.run_flags(job, _WORKDIR.value, values) or ''
    else:
        from mnist_flax.ablation.ablation import ablate

        table = ablate(values.config, _WORKDIR.value, _SEEDS.value, _VARIANTS.value)
    print(table, end='')


if __name__ == '__main__':
    cli.run(main)
