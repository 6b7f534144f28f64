"""The contender `keras`: Keras on TensorFlow."""

import os

os.environ['KERAS_BACKEND'] = 'tensorflow'

import keras
import numpy as np
import tensorflow as tf
from benchmarking import protocol
from keras import layers

# The fastest of 32 (Keras's default) to 1,000 where this was written.
_TEST_BATCH_SIZE = 1000


class Keras:
    """The classic recipe with `fit` and `evaluate`."""

    def __init__(self, arrays):
        self.versions = {'keras': keras.__version__, 'tensorflow': tf.__version__}
        self._train, self._test = (
            (arrays[f'{split}_images'].astype(np.float32) / 255, arrays[f'{split}_labels'])
            for split in ('train', 'test')
        )
        self._num_classes = int(arrays['num_classes'])

    def setup(self, batch_size: int, num_examples: int, seed: int) -> None:
        """Makes a new network and takes its first step, before which Keras compiles."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        self._model = keras.Sequential(
            [
                keras.Input(self._train[0].shape[1:]),
                layers.Conv2D(32, 3, activation='relu'),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, activation='relu'),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(128, activation='relu'),
                layers.Dense(self._num_classes),
            ]
        )
        # Neither `jit_compile=True` nor `steps_per_execution` made it faster on a CPU.
        self._model.compile(
            optimizer=keras.optimizers.Adam(1e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=['accuracy'],
        )
        self._batch_size, self._num_examples = batch_size, num_examples
        self._fit(min(batch_size, num_examples))

    def train(self) -> None:
        """Trains for an epoch."""
        self._fit(self._num_examples)

    def evaluate(self) -> int:
        """Counts the correct predictions among all test images."""
        _, accuracy = self._model.evaluate(
            *self._test, batch_size=_TEST_BATCH_SIZE, verbose=0
        )
        return round(accuracy * len(self._test[1]))

    def _fit(self, num_examples):
        data = (array[:num_examples] for array in self._train)
        self._model.fit(*data, batch_size=self._batch_size, shuffle=True, verbose=0)


if __name__ == '__main__':
    protocol.serve(Keras)
