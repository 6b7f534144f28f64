"""The benchmark's contender `mnist_flax`: this project's library."""

from collections.abc import Mapping
from importlib import metadata

import jax
import numpy as np

from configs import default
from mnist_flax import devices, models, optimizers, run
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
        self._mesh = devices.make_mesh(config.num_devices, batch_size)
        num_steps = run.steps_per_epoch(num_examples, batch_size)
        model = models.create_model(**config.model.to_dict())
        optimizer = optimizers.create_optimizer('adam', 1e-3, 'constant', num_steps)
        self._state = run.create_train_state(self._mesh, model, optimizer, seed)
        arrays = [*(array[:num_examples] for array in self._arrays[:2]), *self._arrays[2:]]
        self._images, self._labels, *self._test = devices.replicate(self._mesh, arrays)
        self._batch_size = batch_size
        run.compile_epoch(self._mesh, self._state, self._images, self._labels, batch_size)
        jax.block_until_ready((self._state, self._images, self._test))

    def train(self) -> None:
        """Trains for an epoch."""
        self._state, _ = run.train_epoch(
            self._mesh, self._state, self._images, self._labels, self._batch_size
        )
        jax.block_until_ready(self._state)

    def evaluate(self) -> int:
        """Counts the correct predictions among all test images."""
        images, labels = self._test
        return int(run.evaluate(self._mesh, self._state, images, labels).correct)


if __name__ == '__main__':
    protocol.serve(Ours)
