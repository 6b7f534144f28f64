"""Compares finished runs: a table, and a figure of accuracy by number of parameters.

  python scripts/compare.py outputs/runs outputs/accurate

Each has a row: its accuracy with its interval over seeds, the ensemble, the minutes, and a
digest of the weights. Of runs with held-out images the accuracy on these is shown, and not
that on the test set. The table is comparison.md in --report_dir, the figure comparison.png.
"""

import os

from absl import flags

from mnist_flax.common import cli

_REPORT_DIR = flags.DEFINE_string(
    'report_dir', 'outputs/comparison', 'Folder for the table and the figure.'
)


def main(names: list[str]) -> None:
    """Reads the runs that the arguments name and writes the comparison."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.checkpointing import workdirs
    from mnist_flax.reporting import figures, finished_runs

    # A run may be named twice, in two ways.
    found = map(finished_runs.read, names)
    runs = [*{os.path.realpath(of.workdir): of for of in found}.values()]
    finished_runs.check(runs)
    table = finished_runs.to_markdown(runs)
    with workdirs.open_folder(_REPORT_DIR.value, '--report_dir') as folder:
        figure = figures.to_png(finished_runs.plot(runs))
        files = {'comparison.md': table.encode(), 'comparison.png': figure}
        workdirs.write(folder, files, '--report_dir')
        print(f'{table}\nwritten to {workdirs.show(folder)}: {", ".join(files)}')


if __name__ == '__main__':
    cli.run(main, arguments='WORKDIR')
