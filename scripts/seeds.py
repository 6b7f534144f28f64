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
    from mnist_flax import checks, reports
    from mnist_flax.train import Settings, train_and_evaluate

    seeds = _SEEDS.value
    checks.require(
        len(seeds) == len(set(seeds)) >= 2,
        f'--seeds: found {seeds}; allowed: two or more different ones',
    )
    configs = []
    for seed in seeds:
        config = flags.FLAGS.config.copy_and_resolve_references()
        config.seed = seed
        checks.construct(Settings, config, 'config')  # each before the first is trained
        configs.append(config)
    workdir = reports.prepare_workdir(_WORKDIR.value)
    results = [
        train_and_evaluate(config, str(workdir / str(config.seed))).metrics
        for config in configs
    ]
    table = reports.seed_table(results)
    reports.write_files(workdir, {'seeds.md': table.encode()})
    print(table, end='')


if __name__ == '__main__':
    cli.run(main)
