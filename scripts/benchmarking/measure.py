"""What the benchmark measures: epochs, scaling, populations and whole runs."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from benchmarking import contenders, cost, layers
from benchmarking.report import Table

from mnist_flax.common.errors import UserError, require
from mnist_flax.data import datasets
from mnist_flax.data.builders import Fields
from mnist_flax.models import cnn

_BATCH_SIZES = (32, 128, 512, 2048, 4096)
_SCALING_PASSES = 2
_SEEDS = 3  # of part time_to_99
_MOST_EPOCHS = 20  # to 99 %


@dataclasses.dataclass
class Benchmark:
    """Measures the contenders in turns; each part, a method, adds to ``tables``."""

    scratch: pathlib.Path  # an empty folder
    contenders: list[str]  # those that cannot start are removed
    baseline: str  # folder of another commit of this project, if it is a contender
    peers_python: str  # the Python that has PyTorch, Keras and TensorFlow
    rounds: int  # how often each has its turn in epoch and population
    num_examples: int  # for training, in epoch, scaling and logging; all if 0
    populations: list[int]  # how many runs at once in population
    dataset: str  # in epoch and scaling
    data_dir: str
    tables: list[Table] = dataclasses.field(default_factory=list)
    versions: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        fields = Fields('--dataset', '--data_dir', '--dataset')
        splits = {
            split: datasets.load_split(self.dataset, self.data_dir, split, fields)
            for split in ('train', 'test')
        }
        height, width, _ = splits['train'].examples.images.shape[1:]
        require(
            cnn.count_convolutions(height, width) >= 2,
            f'--dataset: {self.dataset!r} has images of {height}x{width} pixels; the two '
            'convolutions that are compared need 10x10 or more',
        )
        arrays = {
            f'{split}_{name}': array
            for split, of_split in splits.items()
            for name, array in of_split.examples._asdict().items()  # images and labels
        }
        num_classes = len(splits['train'].class_names)
        np.savez(self.scratch / 'images.npz', num_classes=num_classes, **arrays)
        self.num_test = len(arrays['test_labels'])
        available = len(arrays['train_labels'])
        self.num_examples = self.num_examples or available
        require(
            128 <= self.num_examples <= available,
            f'--num_examples: found {self.num_examples}; allowed: 128, a batch, to '
            f'{available}, all of {self.dataset!r}',
        )

    def epoch(self) -> None:
        """Measures epochs of all examples, and the evaluation of all test images."""
        epoch = f'epoch of {self.num_examples:,} images, s'
        evaluation = f'evaluation of {self.num_test:,} images, s'
        accuracy = f'test accuracy after {self.rounds} epochs, %'
        table = Table(f'Batches of 128, rounds: {self.rounds}', bars=(epoch, evaluation))
        self.tables.append(table)
        with self._running(self.contenders) as asks:
            settings = {'batch_size': 128, 'num_examples': self.num_examples, 'seed': 0}
            for name, ask in asks.items():
                seconds, _ = self._set_up(name, ask, settings)
                table.add(name, 'set-up and compilation, s', seconds)
                ask('evaluate')  # compiles, or warms up
            for _, name in _turns(asks, self.rounds):
                table.add(name, epoch, asks[name]('train')[0])
                seconds = [asks[name]('evaluate')[0] for _ in range(3)]
                table.add(name, evaluation, statistics.median(seconds))
            for name, ask in asks.items():
                table.add(name, accuracy, 100 * ask('evaluate')[1] / self.num_test)

    def scaling(self) -> None:
        """Measures epochs by batch size, on a quarter of the examples, and by examples."""
        quarter = self.num_examples // 4
        speed = Table(f'Images/s, training on {quarter:,}', axis='batch size', speeds=True)
        seconds = Table('Seconds an epoch in batches of 128', axis='images')
        self.tables += [speed, seconds]
        settings = {(128, self.num_examples * i // 8) for i in (1, 2, 4, 8)}
        settings |= {(size, quarter) for size in _BATCH_SIZES}
        large = {(size, number) for size, number in settings if size > number}
        if large:
            pairs = [f'{size:,} (of {number:,} images)' for size, number in sorted(large)]
            print('left out: batches of', ', '.join(pairs), file=sys.stderr)
        with self._running(self._quick_to_compile()) as asks:
            for size, number in sorted(settings - large):
                for i, name in _turns(asks, _SCALING_PASSES):
                    setting = {'batch_size': size, 'num_examples': number, 'seed': i}
                    self._set_up(name, asks[name], setting)
                    taken, _ = asks[name]('train')
                    if number == quarter:
                        speed.add(name, f'{size:,}', round(number / taken))
                    if size == 128:
                        seconds.add(name, f'{number:,}', taken)

    def population(self) -> None:
        """Measures runs of mnist_flax: one after another, one on each core, all at once."""
        size = min(3200, self.num_examples)
        title = f'Runs an hour (10 epochs of 60,000 images), measured on {size:,} images'
        table = Table(title, axis='runs', speeds=True)
        self.tables.append(table)
        with self._running(['mnist_flax']) as asks:
            train = functools.partial(asks['mnist_flax'], 'train_population')
            for runs in self.populations:
                ways = {
                    'one after another': {'num_runs': 1, 'num_at_once': 1},
                    'one on each core': {'num_runs': runs, 'num_at_once': 0},
                    'all in one program': {'num_runs': runs, 'num_at_once': runs},
                }
                for settings in ways.values():
                    train(num_examples=size, **settings)  # loads what was compiled
                for _, way in _turns(ways, self.rounds):
                    _, seconds = train(num_examples=size, **ways[way])
                    an_hour = ways[way]['num_runs'] * 3600 / seconds * size / 600_000
                    table.add(way, str(runs), round(an_hour))

    def logging(self) -> None:
        """Measures what lines of metrics.jsonl every 50 steps cost."""
        seconds = f'epoch of {self.num_examples:,} images, s'
        table = Table(f'Metrics of every 50 steps, rounds: {self.rounds}', bars=(seconds,))
        self.tables.append(table)
        with self._running(['mnist_flax']) as asks:
            settings = {'num_runs': 1, 'num_at_once': 1, 'num_examples': self.num_examples}
            train = functools.partial(asks['mnist_flax'], 'train_population', **settings)
            ways = {'not logged': 0, 'logged': 50}
            for log_every in ways.values():
                train(log_every=log_every)  # loads what was compiled
            for _, way in _turns(ways, self.rounds):
                table.add(way, seconds, train(log_every=ways[way])[1])

    def layers(self) -> None:
        """Measures a layer of many shapes, in our formulation and in XLA's own."""
        self.versions['mnist_flax'] = {'jax': jax.__version__}
        for table, column, calls in layers.measure():
            if not table.columns:
                self.tables.append(table)
            for call in calls.values():
                layers.time_turn(call)  # compiles
            for _, form in _turns(calls, self.rounds):
                table.add(form, column, layers.time_turn(calls[form]))

    def cost(self) -> None:
        """Measures how the time and memory of mnist_flax grow with the work."""
        points = [*cost.list_points()]
        for _ in range(self.rounds):
            for table, column, settings in points:
                if not table.columns:
                    self.tables.append(table)
                # A process each: how much memory it had at most is asked at its end.
                with self._running(['mnist_flax']) as asks:
                    _, (seconds, peak) = asks['mnist_flax']('train_repeated', **settings)
                table.add(cost.TRAINING, column, seconds)
                table.add(cost.MEMORY, column, peak / 2**30)

    def time_to_99(self) -> None:
        """Measures whole runs, from the start of the process to 99 % test accuracy."""
        title = (
            f'From the start of the process to 99 % test accuracy, {_SEEDS} seeds. '
            'mnist_flax is its whole command with configs/fast.py (one epoch of a smaller '
            'network), report and all; its first run compiles. The peers are the classic '
            'recipe (a constant 1e-3), until the first epoch that reaches it'
        )
        table = Table(title, bars=('whole run, s',))
        self.tables.append(table)
        with self._running(self._quick_to_compile()) as asks:
            names = list(asks)  # of those that can start
        for name in names:
            if name not in contenders.PEERS:
                numbers = self._run_command(name, seed=0)
                table.add(name, 'first run, s', numbers['whole run, s'])
        for seed, name in _turns(names, _SEEDS):
            run = self._train_to_99 if name in contenders.PEERS else self._run_command
            for column, value in run(name, seed).items():
                table.add(name, column, value)

    def _run_command(self, name: str, seed: int) -> dict[str, float]:
        workdir = self.scratch / f'{name}_seed_{seed}'
        begin = time.perf_counter()
        with subprocess.Popen(
            [
                *(sys.executable, '-m', 'mnist_flax.main', '--config=configs/fast.py'),
                *(f'--config.seed={seed}', '--config.checkpoint.resume=False'),
                f'--workdir={workdir}',
            ],
            cwd=self._root(name),
            # Empty at the first run; later ones find what was compiled then.
            env=contenders.environment(self._root(name), self.scratch / name),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout
            times = {line: time.perf_counter() - begin for line in process.stdout}
        require(process.returncode == 0, f'{name}: {["it ended", *times][-1]}')
        compiled = next(line for line in times if line.startswith('compiled in'))
        metrics = json.loads((workdir / 'metrics.json').read_text())
        return {
            'until compiled, s': times[compiled],
            'whole run, s': max(times.values()),
            'epochs': metrics['num_epochs'],
            'test accuracy, %': 100 * metrics['test_accuracy'],
        }

    def _train_to_99(self, name: str, seed: int) -> dict[str, float]:
        begin = time.perf_counter()
        with self._start(name) as ask:
            ask()
            ask('setup', batch_size=128, num_examples=60_000, seed=seed)
            accuracy, epochs = 0.0, 0
            while accuracy < 99 and epochs < _MOST_EPOCHS:
                ask('train')
                accuracy = 100 * ask('evaluate')[1] / self.num_test
                epochs += 1
            seconds = time.perf_counter() - begin
        return {'whole run, s': seconds, 'epochs': epochs, 'test accuracy, %': accuracy}

    def _set_up(
        self, name: str, ask: Callable[..., Any], settings: dict[str, int]
    ) -> list[Any]:
        # Ours loads the data by itself; the peers have them in a file.
        is_default = (self.dataset, self.data_dir) == ('mnist', '')
        if is_default or name in contenders.PEERS:
            return ask('setup', **settings)
        return ask('setup', **settings, dataset=self.dataset, data_dir=self.data_dir)

    def _quick_to_compile(self) -> list[str]:
        # It takes half a minute for each setting.
        return [name for name in self.contenders if name != 'pytorch_compile']

    @contextlib.contextmanager
    def _running(self, names: list[str]) -> Iterator[dict[str, Callable[..., Any]]]:
        asks = {}
        with contextlib.ExitStack() as stack:
            for name in names:
                try:
                    ask = stack.enter_context(self._start(name))
                    self.versions[name] = ask()
                    asks[name] = ask
                except (OSError, UserError) as error:
                    print(f'left out: {error}', file=sys.stderr)
                    self.contenders = [other for other in self.contenders if other != name]
            require(bool(asks), '--contenders: none of them could start')
            yield asks

    def _start(self, name: str):
        return contenders.start(name, self._root(name), self.scratch, self.peers_python)

    def _root(self, name: str) -> pathlib.Path:
        is_baseline = name == 'baseline'
        return pathlib.Path(self.baseline).resolve() if is_baseline else contenders.ROOT


def _turns(names: Iterable[str], rounds: int) -> Iterator[tuple[int, str]]:
    # Another one begins in each round, so that nobody always follows the same one.
    names = list(names)
    for i in range(rounds):
        for j in range(len(names)):
            yield i, names[(i + j) % len(names)]
