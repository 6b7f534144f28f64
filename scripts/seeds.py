"""Trains a config with several seeds and prints mean and standard deviation."""

from absl import flags

from mnist_flax import cli

cli.define_config(default='configs/default.py')
_SEEDS = flags.DEFINE_multi_integer(
    'seeds', [0, 1, 2, 3, 4], 'Seed of a run; repeat the flag for each (at least 2).'
)
_WORKDIR = flags.DEFINE_string(
    'workdir', 'outputs/seeds', 'Folder for the table, seeds.md, and a folder a seed.'
)


def main() -> None:
    """Runs `train_and_evaluate` once a seed and writes the table."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax import reports
    from mnist_flax.checks import require
    from mnist_flax.files import write_atomically
    from mnist_flax.train import train_and_evaluate

    seeds = _SEEDS.value
    require(
        len(seeds) == len(set(seeds)) >= 2 and min(seeds) >= 0,
        f'--seeds: found {seeds}; allowed: two or more different ones, none negative',
    )
    workdir = reports.prepare_workdir(_WORKDIR.value)
    results = []
    for seed in seeds:
        config = flags.FLAGS.config.copy_and_resolve_references()
        config.seed = seed
        results.append(train_and_evaluate(config, str(workdir / str(seed))).metrics)
    table = reports.seed_table(results)
    write_atomically({workdir / 'seeds.md': table.encode()})
    print(table, end='')


if __name__ == '__main__':
    cli.run(main)
