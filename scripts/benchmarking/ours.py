"""The benchmark's contender `mnist_flax`: this project's library."""

from collections.abc import Mapping
from importlib import metadata

import jax
import numpy as np

from configs import default
from mnist_flax.training import devices, plan, population
from mnist_flax.training.trainer import Trainer
from scripts.contenders import protocol


class Ours:
    """A `protocol.Contender`."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        packages = ('mnist_flax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')
        self.versions = {package: metadata.version(package) for package in packages}
        names = ('train_images', 'train_labels', 'test_images', 'test_labels')
        self._arrays = [arrays[name] for name in names]

    def setup(self, batch_size: int, num_examples: int, seed: int) -> None:
        """Makes a new network and compiles its training."""
        config = default.get_config()
        config.batch_size = batch_size
        config.optimizer.schedule = 'constant'
        config.dataset.train_split = f'train[:{num_examples}]'
        plan = plan.make_plan(config)
        arrays = [*(array[:num_examples] for array in self._arrays[:2]), *self._arrays[2:]]
        images, labels, *self._test = devices.replicate(plan.mesh, arrays)
        self._program = plan.mesh, plan.recipe
        self._train_on = images, labels
        self._batch_size = batch_size
        numbers = {name: [x] for name, x in plan.runs[0].hyperparameters.items()}
        self._state = population.init(*self._program, [seed], numbers)
        population.compile_epoch(
            *self._program, self._state, *self._train_on, self._batch_size
        )
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

    def setup_population(self, num_runs: int, num_at_once: int, num_examples: int) -> None:
        """Makes new networks and compiles their training.

        Args:
          num_runs: How many.
          num_at_once: Trained side by side; 0 lets the trainer decide.
          num_examples: How many of the training examples make an epoch, the first ones.
        """
        config = default.get_config()
        config.update({'runs': num_runs, 'runs_at_once': num_at_once, 'num_epochs': 1})
        config.dataset.train_split = f'train[:{num_examples}]'
        config.dataset.test_split = 'test[:50]'
        self._trainer = Trainer(plan.make_plan(config), show=False)
        self._trainer.compile()

    def train_population(self) -> None:
        """Trains each network for an epoch."""
        for _ in self._trainer.train():
            pass


if __name__ == '__main__':
    protocol.serve(Ours)
