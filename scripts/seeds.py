"""Trains a config with several seeds and prints mean and standard deviation."""

import pathlib
import statistics

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
    from mnist_flax.checks import require
    from mnist_flax.files import write_atomically
    from mnist_flax.train import train_and_evaluate

    seeds = _SEEDS.value
    require(
        len(set(seeds)) >= 2, f'--seeds: found {seeds}; allowed: 2 or more different ones'
    )
    workdir = pathlib.Path(_WORKDIR.value)
    table = ['| seed | test accuracy, % | test loss | training, s |', '|---|---|---|---|']
    columns: list[tuple[float, float, float]] = []
    for seed in seeds:
        config = flags.FLAGS.config.copy_and_resolve_references()
        config.seed = seed
        numbers = train_and_evaluate(config, str(workdir / str(seed))).metrics
        row = 100 * numbers['test_accuracy'], numbers['test_loss'], numbers['train_seconds']
        columns.append(row)
        table.append('| {} | {:.2f} | {:.4f} | {:.0f} |'.format(seed, *row))
    spreads = [
        f'{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}'
        for values, digits in zip(zip(*columns, strict=True), (3, 4, 0), strict=True)
    ]
    table.append(f'| mean ± sd | {" | ".join(spreads)} |')
    text = '\n'.join(table) + '\n'
    write_atomically(workdir / 'seeds.md', text.encode())
    print(text, end='')


if __name__ == '__main__':
    cli.run(main)
