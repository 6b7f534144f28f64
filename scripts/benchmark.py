"""Compares training and evaluation with PyTorch and Keras, in turns, on this CPU.

  python scripts/benchmark.py --parts=epoch --rounds=3
  python scripts/benchmark.py --parts=epoch --contenders=mnist_flax --baseline=../before
  python scripts/benchmark.py --parts=epoch --dataset=flowers --data_dir=data

The machine must be idle: PyTorch's threads wait for one another in busy loops, and beside
another program it takes many times as long. There is a warning if it is busy at the start.
After Ctrl-C, what was measured up to then is reported.
"""

import os
import pathlib
import shlex
import signal
import sys
import tempfile

from absl import flags

from mnist_flax.common import cli

_PARTS = [
    'epoch', 'scaling', 'time_to_99', 'population', 'logging', 'layers', 'cost'
]  # fmt: skip
# Per cent of the CPU that an idle machine may use.
_BUSY = 10

_CONTENDERS = ['mnist_flax', 'pytorch', 'pytorch_compile', 'keras']

flags.DEFINE_list(
    'parts',
    _PARTS,
    'What is measured: an epoch and the evaluation; speed by batch size and by number of '
    'examples; whole runs from the start of the process to 99 % test accuracy; several '
    'runs of mnist_flax at once against one after another; metrics of every 50 steps; '
    "layers of many shapes in mnist_flax's formulation and in XLA's; time and memory of "
    'mnist_flax as images, runs, epochs, batches and pixels grow.',
)
flags.DEFINE_list('contenders', _CONTENDERS, 'Who takes part, if its packages are there.')
flags.DEFINE_string('baseline', '', 'Folder of another commit, which takes part too.')
flags.DEFINE_integer(
    'rounds', 5, 'Turns of each, except in scaling and time_to_99.', lower_bound=1
)
flags.DEFINE_integer(
    'num_examples',
    None,
    'Training examples in parts epoch, scaling and logging; without it all of them.',
    lower_bound=128,
)
flags.DEFINE_string('dataset', 'mnist', 'TFDS name of a data set, for epoch and scaling.')
flags.DEFINE_string('data_dir', '', 'Its TFDS directory, as config.dataset.data_dir.')
flags.DEFINE_multi_integer(
    'populations', [1, 4, 16, 64], 'How many runs in part population.', lower_bound=1
)
flags.DEFINE_string('peers_python', sys.executable, 'Python that has PyTorch and Keras.')
flags.DEFINE_string('workdir', 'outputs/benchmark', 'Folder for tables and figures.')
for _name, _all in (('parts', _PARTS), ('contenders', _CONTENDERS)):
    flags.register_validator(
        _name,
        lambda values, allowed=frozenset(_all): allowed.issuperset(values),
        f'allowed: some of {", ".join(_all)}',
    )
flags.register_validator(
    'baseline',
    lambda folder: not folder or any(pathlib.Path(folder).glob('scripts/*/ours.py')),
    'it must hold scripts/*/ours.py, as a checkout of this project does',
)


def main() -> None:
    """Measures, part by part, and writes and prints the tables of each."""
    # Inherited by all contenders: PyTorch's program has no code for a GPU.
    os.environ |= {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    import psutil
    from benchmarking import cost, measure, report

    from mnist_flax.checkpointing import workdirs
    from mnist_flax.common.errors import require
    from mnist_flax.common.interrupts import Interrupted

    values = flags.FLAGS
    only_mnist = sorted({*values.parts} - {'epoch', 'scaling', 'layers'})
    require(
        (values.dataset, values.data_dir) == ('mnist', '') or not only_mnist,
        f'--dataset: found {values.dataset!r}; the parts {", ".join(only_mnist)} measure '
        'the MNIST that comes along; choose --parts=epoch,scaling',
    )
    folder = workdirs.prepare(values.workdir)
    with tempfile.TemporaryDirectory() as scratch:
        benchmark = measure.Benchmark(
            pathlib.Path(scratch),
            [*values.contenders, *(['baseline'] if values.baseline else [])],
            values.baseline,
            values.peers_python,
            values.rounds,
            values.num_examples or 0,
            values.populations,
            values.dataset,
            values.data_dir,
        )
        busy = psutil.cpu_percent(interval=1)
        if busy > _BUSY:
            message = f'other programs use {busy:.0f} % of the CPU; times will be too long'
            print(f'warning: {message}', file=sys.stderr, flush=True)
        command = shlex.join(['python', *sys.argv])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for part in values.parts:
            try:
                getattr(benchmark, part)()
            except KeyboardInterrupt as error:
                message = 'what was measured is reported'
                raise Interrupted(signal.SIGINT, message) from error
            finally:
                draw = cost.to_figure if part == 'cost' else None
                report.write(
                    folder, part, benchmark.tables, benchmark.versions, command, draw
                )
                benchmark.tables.clear()


if __name__ == '__main__':
    cli.run(main)
