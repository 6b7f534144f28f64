"""Compares training and evaluation with PyTorch and Keras, in turns, on this CPU.

The machine must be idle: PyTorch's threads wait for one another in busy loops, and beside
another program it takes many times as long.
"""

import contextlib
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags

from mnist_flax import cli
from mnist_flax.benchmark_process import PROGRAMS, Contender, failure

_ROOT = pathlib.Path(__file__).parent.parent
_PART_NAMES = ['epoch', 'scaling', 'time_to_99', 'population']
_MOST_EXAMPLES = 60000
_BATCH_SIZES = (32, 128, 512, 2048, 4096)
_EVALUATIONS_PER_ROUND = 3
_SCALING_PASSES = 2
_SEEDS = (0, 1, 2)  # of part time_to_99
_POPULATION_EXAMPLES = 3200  # of an epoch, in part population
_MOST_EPOCHS = 20  # to 99 %

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
    _MOST_EXAMPLES,
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
    from mnist_flax import benchmark_figures, benchmark_report, devices, figures, workdirs

    workdir = workdirs.prepare(_WORKDIR.value)
    with tempfile.TemporaryDirectory() as scratch:
        results = _measure(pathlib.Path(scratch))
    results['environment'] |= {'cpu': _cpu_name(), 'cores': devices.count_cores()}
    tables = benchmark_report.to_markdown(results)
    numbers = json.dumps(results, indent=2, allow_nan=False) + '\n'
    files = {'benchmark.json': numbers.encode(), 'benchmark.md': tables.encode()}
    for name, figure in benchmark_figures.to_figures(results).items():
        files[name] = figures.to_png(figure)
    workdirs.write(workdir, files)
    print(tables, end='')


def _check_flags() -> None:
    from mnist_flax.checks import require

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
        128 <= _NUM_EXAMPLES.value <= _MOST_EXAMPLES,
        f'--num_examples: found {_NUM_EXAMPLES.value}; allowed: 128 to {_MOST_EXAMPLES}',
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
        missing = _find_missing(sorted(packages))
        require(
            not missing,
            f'--peers_python: {_PEERS_PYTHON.value} has no {", ".join(missing)}; '
            "allowed: one with them (pip install -e '.[benchmark]'), or "
            '--contenders=mnist_flax',
        )


def _find_missing(packages: list[str]) -> list[str]:
    from mnist_flax.checks import UserError

    code = (
        'import sys; from importlib.util import find_spec; '
        'print(*(name for name in sys.argv[1:] if not find_spec(name)))'
    )
    try:
        output = subprocess.check_output(
            [_PEERS_PYTHON.value, '-c', code, *packages], text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f'--peers_python: found {_PEERS_PYTHON.value!r}, which does not run; '
            'allowed: a Python interpreter'
        ) from error
    return output.split()


def _measure(scratch: pathlib.Path) -> dict[str, Any]:
    """Runs the parts; returns the contents of ``benchmark.json`` but for the machine."""
    import numpy as np

    from mnist_flax import data

    # Else a second benchmark would find what was compiled in the first one.
    os.environ |= {
        'JAX_COMPILATION_CACHE_DIR': str(scratch / 'jax'),
        'TORCHINDUCTOR_CACHE_DIR': str(scratch / 'torchinductor'),
    }
    dataset = data.load('mnist', '', 'train', 'test', 'test', 0)
    np.savez(
        scratch / 'mnist.npz',
        train_images=dataset.train.images,
        train_labels=dataset.train.labels,
        test_images=dataset.test.images,
        test_labels=dataset.test.labels,
    )
    num_test_examples = len(dataset.test.labels)
    results: dict[str, Any] = {
        'command': shlex.join(['python', *sys.argv]),
        'rounds': _ROUNDS.value,
        'num_examples': _NUM_EXAMPLES.value,
        'num_test_examples': num_test_examples,
    }
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Contender(name, _PEERS_PYTHON.value, scratch))
            for name in _CONTENDERS.value
        }
        versions = {name: contender.versions for name, contender in contenders.items()}
        results['environment'] = {'versions': versions}
        if 'epoch' in _PARTS.value:
            results['epoch'] = _measure_epochs(contenders, num_test_examples)
        if 'scaling' in _PARTS.value:
            results['scaling'] = _measure_scaling(contenders)
        if 'population' in _PARTS.value and 'mnist_flax' in contenders:
            results['population'] = _measure_population(contenders['mnist_flax'])
    if 'time_to_99' in _PARTS.value:
        results['time_to_99'] = _measure_time_to_99(scratch, num_test_examples)
    return results


def _measure_epochs(
    contenders: dict[str, Contender], num_test_examples: int
) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name, contender in contenders.items():
        seconds = contender.setup(128, _NUM_EXAMPLES.value, seed=0)
        _say(f'set-up, {name}: {seconds:.2f} s')
        contender.evaluate()  # compiles, or warms up
        numbers[name] = {
            'setup_seconds': seconds,
            'epoch_seconds': [],
            'evaluation_seconds': [],
            'test_accuracy': [],
        }
    names = list(contenders)
    for i in range(_ROUNDS.value):
        for name in _rotate(names, i):
            contender = contenders[name]
            seconds = contender.train()
            evaluations = [contender.evaluate() for _ in range(_EVALUATIONS_PER_ROUND)]
            accuracy = evaluations[0][1] / num_test_examples
            numbers[name]['epoch_seconds'].append(seconds)
            numbers[name]['evaluation_seconds'].append(
                [seconds for seconds, _ in evaluations]
            )
            numbers[name]['test_accuracy'].append(accuracy)
            _say(
                f'epoch, round {i + 1}/{_ROUNDS.value}, {name}: {seconds:.2f} s, '
                f'evaluation {evaluations[0][0]:.3f} s, test accuracy {accuracy:.2%}'
            )
    return numbers


def _measure_scaling(contenders: dict[str, Contender]) -> dict[str, Any]:
    eighths = [i * _NUM_EXAMPLES.value // 8 for i in (1, 2, 4, 8)]
    settings = [(batch_size, eighths[1]) for batch_size in _BATCH_SIZES]
    settings += [(128, size) for size in eighths if size != eighths[1]]
    # Without pytorch_compile, which takes half a minute to compile for each setting.
    numbers: dict[str, Any] = {name: [] for name in contenders if name != 'pytorch_compile'}
    for batch_size, num_examples in settings:
        run = {'batch_size': batch_size, 'num_examples': num_examples}
        for runs in numbers.values():
            runs.append({**run, 'seconds': []})
        for i in range(_SCALING_PASSES):
            for name in _rotate(list(numbers), i):
                contender = contenders[name]
                contender.setup(batch_size, num_examples, seed=i)
                seconds = contender.train()
                numbers[name][-1]['seconds'].append(seconds)
                _say(
                    f'scaling, {num_examples} images in batches of {batch_size}, pass '
                    f'{i + 1}/{_SCALING_PASSES}, {name}: {seconds:.2f} s'
                )
    return numbers


def _measure_population(contender: Contender) -> dict[str, Any]:
    """Times an epoch of n runs: all at once, one on each core, and one after another."""
    num_examples = min(_POPULATION_EXAMPLES, _NUM_EXAMPLES.value)
    numbers: dict[str, Any] = {'num_examples': num_examples, 'runs': []}
    for num_runs in map(int, _POPULATIONS.value):
        ways: dict[str, list[float]] = {'one_after_another': [], 'auto': [], 'at_once': []}
        for i in range(_ROUNDS.value):
            for way in _rotate(list(ways), i):
                at_once = {'one_after_another': 1, 'auto': 0, 'at_once': num_runs}[way]
                # One after another they are all the same run: the time of one, n times.
                count = 1 if at_once == 1 else num_runs
                contender.setup_population(count, at_once, num_examples)
                if not ways[way]:
                    contender.train_population()  # compiles what is left, or warms up
                seconds = contender.train_population() * num_runs / count
                ways[way].append(seconds)
                _say(
                    f'population of {num_runs}, {way}, round {i + 1}/{_ROUNDS.value}: '
                    f'{seconds:.2f} s for {num_examples} images'
                )
        numbers['runs'].append({'num_runs': num_runs, 'seconds': ways})
    return numbers


def _measure_time_to_99(scratch: pathlib.Path, num_test_examples: int) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        name: [] for name in _CONTENDERS.value if name != 'pytorch_compile'
    }
    first = None
    if 'mnist_flax' in numbers:
        first = _run_command(_SEEDS[0], scratch)['seconds']
        _say(f'time to 99 %, first run of mnist_flax, which compiles: {first:.1f} s')
    for seed in _SEEDS:
        for name in _rotate(list(numbers), seed):
            runs = numbers[name]
            if name == 'mnist_flax':
                run = _run_command(seed, scratch)
            else:
                run = _train_to_99(name, seed, scratch, num_test_examples)
            runs.append({'seed': seed, **run})
            _say(
                f'time to 99 %, seed {seed}, {name}: {run["seconds"]:.1f} s, test accuracy '
                f'{run["test_accuracy"]:.2%}'
            )
    return {'first_run_seconds': first, 'runs': numbers}


def _run_command(seed: int, scratch: pathlib.Path) -> dict[str, Any]:
    """Runs our command with its fast config, from start to finish."""
    workdir = scratch / f'seed_{seed}'
    log = scratch / 'command.log'
    compiled_at = None
    start = time.perf_counter()
    with log.open('w') as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                *('-m', 'mnist_flax.main', '--config=configs/fast.py'),
                *(f'--config.seed={seed}', f'--workdir={workdir}'),
            ],
            cwd=_ROOT,
            # Empty at the first run; later ones find what was compiled then.
            env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(scratch / 'command')},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout
        for line in process.stdout:
            if line.startswith('compiled in'):
                compiled_at = time.perf_counter()
            if line.startswith('written to'):
                seconds = time.perf_counter() - start
    if process.wait():
        raise failure('mnist_flax', log)
    metrics = json.loads((workdir / 'metrics.json').read_text())
    return {
        'seconds': seconds,
        'start_up_seconds': compiled_at and compiled_at - start,
        'epochs': metrics['num_epochs'],
        'test_accuracy': metrics['test_accuracy'],
    }


def _train_to_99(
    name: str, seed: int, scratch: pathlib.Path, num_test_examples: int
) -> dict[str, Any]:
    """Trains a peer by whole epochs, each with an evaluation."""
    from mnist_flax.benchmark_report import TARGET_ACCURACY

    accuracy, epochs = 0.0, 0
    start = time.perf_counter()
    with Contender(name, _PEERS_PYTHON.value, scratch) as contender:
        contender.setup(128, _MOST_EXAMPLES, seed)
        while accuracy < TARGET_ACCURACY and epochs < _MOST_EPOCHS:
            contender.train()
            accuracy = contender.evaluate()[1] / num_test_examples
            epochs += 1
        seconds = time.perf_counter() - start
    return {'seconds': seconds, 'epochs': epochs, 'test_accuracy': accuracy}


def _rotate(names: list[str], i: int) -> list[str]:
    """Lets another one begin in each round, so that nobody always follows the same one."""
    return names[i % len(names) :] + names[: i % len(names)]


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == '__main__':
    cli.run(main)
