"""The contender `mnist_flax`: this project's library."""

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata

import jax
import numpy as np
from benchmarking import protocol

from configs import default
from mnist_flax.data import datasets
from mnist_flax.training import devices, population
from mnist_flax.training.plan import make_plan
from mnist_flax.training.trainer import Trainer


class Ours:
    """A contender; it loads the data by itself, as every run does."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        packages = ('mnist_flax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')
        self.versions = {package: metadata.version(package) for package in packages}

    def setup(
        self,
        batch_size: int,
        num_examples: int,
        seed: int,
        dataset: str = 'mnist',
        data_dir: str = '',
    ) -> None:
        """Makes a new network and compiles its training."""
        config = default.get_config()
        config.batch_size = batch_size
        config.schedule.constructor = 'constant'
        config.dataset.train_split = f'train[:{num_examples}]'
        config.dataset.update({'name': dataset, 'data_dir': data_dir})
        plan = make_plan(config)
        arrays = (*plan.dataset.train, *plan.dataset.test)
        images, labels, *self._test = devices.replicate(plan.mesh, arrays)
        self._program = plan.mesh, plan.recipe
        self._train_on, self._batch_size = (images, labels), batch_size
        hyperparams = {name: [x] for name, x in plan.runs[0].hyperparams.items()}
        self._state = population.init(*self._program, [seed], hyperparams)
        epoch, _ = population.lower_epoch(
            *self._program, self._state, images, labels, batch_size
        )
        order = population.lower_order(plan.mesh, self._state, labels, batch_size)
        population.compile_programs([epoch, order])
        jax.block_until_ready((self._state, images, self._test))

    def train(self) -> None:
        """Trains for an epoch."""
        self._state, _ = population.train_epoch(
            *self._program, self._state, *self._train_on, self._batch_size
        )
        jax.block_until_ready(self._state)

    def evaluate(self) -> int:
        """Counts the correct predictions among all test images."""
        totals = population.evaluate(*self._program, self._state, *self._test)
        return int(totals.correct[0])

    def train_population(
        self, num_runs: int, num_at_once: int, num_examples: int, log_every: int = 0
    ) -> float:
        """Trains new networks for an epoch, if 0 at once then as many as the trainer likes.

        Returns:
          The seconds of training alone.
        """
        config = default.get_config()
        config.update({'runs': num_runs, 'runs_at_once': num_at_once, 'num_epochs': 1})
        config.dataset.train_split = f'train[:{num_examples}]'
        config.dataset.test_split = 'test[:50]'
        config.log_every_steps = log_every
        with tempfile.TemporaryDirectory() as workdir:
            trainer = Trainer(make_plan(config), show=False)
            for _ in trainer.train(pathlib.Path(workdir) if log_every else None):
                pass
        return trainer.train_seconds

    def train_repeated(
        self, num_examples: int, num_runs: int, num_epochs: int, batch_size: int, side: int
    ) -> tuple[float, int]:
        """Trains on MNIST, repeated to a number of images and stretched to a size.

        Returns:
          The seconds of training alone, and the most bytes that the process has had.
        """
        config = default.get_config()
        config.update(
            {'runs': num_runs, 'num_epochs': num_epochs, 'batch_size': batch_size}
        )
        mnist = datasets.load('mnist', '', 'train', 'test[:50]', 'test', 0)
        places = np.arange(side) * 28 // side
        splits = [
            datasets.Examples(of.images[:, places][:, :, places], of.labels)
            for of in (mnist.train, mnist.test)
        ]
        order = np.arange(num_examples) % len(splits[0].labels)
        train = datasets.Examples(*(array[order] for array in splits[0]))
        dataset = dataclasses.replace(
            mnist, train=train, validation=splits[1], test=splits[1]
        )
        trainer = Trainer(make_plan(config, dataset), show=False)
        for _ in trainer.train():
            pass
        import resource  # which Windows lacks

        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == 'darwin' else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return trainer.train_seconds, peak


if __name__ == '__main__':
    protocol.serve(Ours)
