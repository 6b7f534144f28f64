"""Compares training and evaluation with PyTorch and Keras, in turns, on this CPU.

The machine must be idle: PyTorch's threads wait for one another in busy loops, and beside
another program it takes many times as long.
"""

import json
import os
import pathlib
import shlex
import sys
import tempfile

from absl import flags

from mnist_flax.common import cli
from benchmarking.process import MOST_EXAMPLES, PROGRAMS, find_missing

_PART_NAMES = ['epoch', 'scaling', 'time_to_99', 'population']

_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Epochs of each contender in part epoch.')
_CONTENDERS = flags.DEFINE_list('contenders', list(PROGRAMS), 'Who takes part.')
_PARTS = flags.DEFINE_list(
    'parts',
    _PART_NAMES,
    'What is measured: an epoch and the evaluation; speed by batch size and by number of '
    'examples; whole runs from the start of the process to 99 % test accuracy; several '
    'runs of mnist_flax at once against one after another.',
)
_NUM_EXAMPLES = flags.DEFINE_integer(
    'num_examples',
    MOST_EXAMPLES,
    'Training examples in parts epoch and scaling; fewer for a quick look.',
)
_POPULATIONS = flags.DEFINE_list(
    'populations', ['1', '4', '16', '64'], 'How many runs at once in part population.'
)
_PEERS_PYTHON = flags.DEFINE_string(
    'peers_python', sys.executable, 'Python that has PyTorch, Keras and TensorFlow.'
)
_WORKDIR = flags.DEFINE_string(
    'workdir', 'outputs/benchmark', 'Folder for numbers, tables and figures.'
)


def main() -> None:
    """Measures, then writes the report and prints its tables."""
    # Inherited by all contenders: PyTorch's program has no code for a GPU.
    os.environ |= {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}
    _check_flags()
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from benchmarking import figures, measure, report
    from mnist_flax.checkpointing import workdirs
    from mnist_flax.reporting import figures

    workdir = workdirs.prepare(_WORKDIR.value)
    with tempfile.TemporaryDirectory() as scratch:
        results = measure.measure(
            pathlib.Path(scratch),
            names=_CONTENDERS.value,
            peers_python=_PEERS_PYTHON.value,
            parts=_PARTS.value,
            rounds=_ROUNDS.value,
            num_examples=_NUM_EXAMPLES.value,
            populations=[int(number) for number in _POPULATIONS.value],
        )
    results = {'command': shlex.join(['python', *sys.argv]), **results}
    tables = report.to_markdown(results)
    numbers = json.dumps(results, indent=2, allow_nan=False) + '\n'
    files = {'benchmark.json': numbers.encode(), 'benchmark.md': tables.encode()}
    for name, figure in figures.to_figures(results).items():
        files[name] = figures.to_png(figure)
    workdirs.write(workdir, files)
    print(tables, end='')


def _check_flags() -> None:
    from mnist_flax.common.errors import require

    for flag, allowed in ((_CONTENDERS, list(PROGRAMS)), (_PARTS, _PART_NAMES)):
        require(
            bool(flag.value)
            and set(flag.value) <= set(allowed)
            and len(flag.value) == len(set(flag.value)),
            f'--{flag.name}: found {",".join(flag.value)!r}; allowed: one or more of '
            f'{", ".join(allowed)}',
        )
    require(
        _CONTENDERS.value != ['pytorch_compile'] or _PARTS.value == ['epoch'],
        '--contenders: found pytorch_compile alone; allowed: with another, as it takes '
        'part in --parts=epoch only',
    )
    require(
        'mnist_flax' in _CONTENDERS.value or _PARTS.value != ['population'],
        '--contenders: found no mnist_flax; allowed: it, as --parts=population is of it '
        'alone',
    )
    require(_ROUNDS.value >= 1, f'--rounds: found {_ROUNDS.value}; allowed: 1 or more')
    require(
        128 <= _NUM_EXAMPLES.value <= MOST_EXAMPLES,
        f'--num_examples: found {_NUM_EXAMPLES.value}; allowed: 128 to {MOST_EXAMPLES}',
    )
    require(
        bool(_POPULATIONS.value)
        and all(number.isdecimal() and int(number) >= 1 for number in _POPULATIONS.value),
        f'--populations: found {",".join(_POPULATIONS.value)!r}; allowed: numbers of runs, '
        'such as 1,4,16',
    )
    packages = {
        package for name in _CONTENDERS.value for package in PROGRAMS[name].packages
    }
    if packages:
        missing = find_missing(sorted(packages), _PEERS_PYTHON.value)
        require(
            not missing,
            f'--peers_python: {_PEERS_PYTHON.value} has no {", ".join(missing)}; '
            "allowed: one with them (pip install -e '.[benchmark]'), or "
            '--contenders=mnist_flax',
        )


if __name__ == '__main__':
    cli.run(main)
