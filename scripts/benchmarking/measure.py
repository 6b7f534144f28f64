"""What the benchmark measures: epochs, scaling, whole runs and populations."""

import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_flax.data.datasets import datasets
from mnist_flax.training import devices
from benchmarking.process import MOST_EXAMPLES, Contender, failure
from benchmarking.report import TARGET_ACCURACY

_ROOT = pathlib.Path(__file__).parent.parent
_BATCH_SIZES = (32, 128, 512, 2048, 4096)
_EVALUATIONS_PER_ROUND = 3
_SCALING_PASSES = 2
_SEEDS = (0, 1, 2)  # of part time_to_99
_POPULATION_EXAMPLES = 3200  # of an epoch, in part population
_MOST_EPOCHS = 20  # to 99 %


def measure(
    scratch: pathlib.Path,
    names: Sequence[str],
    peers_python: str,
    parts: Sequence[str],
    rounds: int,
    num_examples: int,
    populations: Sequence[int],
) -> dict[str, Any]:
    """Runs the parts, the contenders in turns.

    Args:
      scratch: An empty folder, for what the contenders read and compile.
      names: Those of the contenders, in `PROGRAMS`.
      peers_python: The Python that has the peers' packages.
      parts: Of epoch, scaling, time_to_99 and population.
      rounds: How often each contender's turn comes in epoch and population.
      num_examples: Training examples in epoch and scaling.
      populations: How many runs at once in population.

    Returns:
      The contents of ``benchmark.json`` but for the command.
    """
    # Else a second benchmark would find what was compiled in the first one.
    os.environ |= {
        'JAX_COMPILATION_CACHE_DIR': str(scratch / 'jax'),
        'TORCHINDUCTOR_CACHE_DIR': str(scratch / 'torchinductor'),
    }
    dataset = datasets.load('mnist', '', 'train', 'test', 'test', 0)
    np.savez(
        scratch / 'mnist.npz',
        train_images=dataset.train.images,
        train_labels=dataset.train.labels,
        test_images=dataset.test.images,
        test_labels=dataset.test.labels,
    )
    num_test_examples = len(dataset.test.labels)
    results: dict[str, Any] = {
        'rounds': rounds,
        'num_examples': num_examples,
        'num_test_examples': num_test_examples,
    }
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Contender(name, peers_python, scratch))
            for name in names
        }
        versions = {name: contender.versions for name, contender in contenders.items()}
        results['environment'] = {
            'versions': versions,
            'cpu': _cpu_name(),
            'cores': devices.count_cores(),
        }
        if 'epoch' in parts:
            results['epoch'] = _measure_epochs(
                contenders, rounds, num_examples, num_test_examples
            )
        if 'scaling' in parts:
            results['scaling'] = _measure_scaling(contenders, num_examples)
        if 'population' in parts and 'mnist_flax' in contenders:
            results['population'] = _measure_population(
                contenders['mnist_flax'], rounds, num_examples, populations
            )
    if 'time_to_99' in parts:
        results['time_to_99'] = _measure_time_to_99(
            names, peers_python, scratch, num_test_examples
        )
    return results


def _measure_epochs(
    contenders: dict[str, Contender],
    rounds: int,
    num_examples: int,
    num_test_examples: int,
) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name, contender in contenders.items():
        seconds = contender.setup(128, num_examples, seed=0)
        _say(f'set-up, {name}: {seconds:.2f} s')
        contender.evaluate()  # compiles, or warms up
        numbers[name] = {
            'setup_seconds': seconds,
            'epoch_seconds': [],
            'evaluation_seconds': [],
            'test_accuracy': [],
        }
    names = list(contenders)
    for i in range(rounds):
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
                f'epoch, round {i + 1}/{rounds}, {name}: {seconds:.2f} s, '
                f'evaluation {evaluations[0][0]:.3f} s, test accuracy {accuracy:.2%}'
            )
    return numbers


def _measure_scaling(
    contenders: dict[str, Contender], most_examples: int
) -> dict[str, Any]:
    eighths = [i * most_examples // 8 for i in (1, 2, 4, 8)]
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


def _measure_population(
    contender: Contender, rounds: int, num_examples: int, populations: Sequence[int]
) -> dict[str, Any]:
    """Times an epoch of n runs: all at once, one on each core, and one after another."""
    num_examples = min(_POPULATION_EXAMPLES, num_examples)
    numbers: dict[str, Any] = {'num_examples': num_examples, 'runs': []}
    for num_runs in populations:
        ways: dict[str, list[float]] = {'one_after_another': [], 'auto': [], 'at_once': []}
        for i in range(rounds):
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
                    f'population of {num_runs}, {way}, round {i + 1}/{rounds}: '
                    f'{seconds:.2f} s for {num_examples} images'
                )
        numbers['runs'].append({'num_runs': num_runs, 'seconds': ways})
    return numbers


def _measure_time_to_99(
    names: Sequence[str], peers_python: str, scratch: pathlib.Path, num_test_examples: int
) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: [] for name in names if name != 'pytorch_compile'}
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
                run = _train_to_99(name, peers_python, seed, scratch, num_test_examples)
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
    name: str, peers_python: str, seed: int, scratch: pathlib.Path, num_test_examples: int
) -> dict[str, Any]:
    """Trains a peer by whole epochs, each with an evaluation."""
    accuracy, epochs = 0.0, 0
    start = time.perf_counter()
    with Contender(name, peers_python, scratch) as contender:
        contender.setup(128, MOST_EXAMPLES, seed)
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
