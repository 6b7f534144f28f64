"""From pictures to the input of the networks, and to predictions."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mnist_flax.recognition import framing, ink, pictures, resizing
from mnist_flax.recognition.networks import Networks, load_networks

_DIGITS = tuple('0123456789')

# TFDS's data sets of such images.
_MNIST = ('mnist', 'emnist', 'mnist_corrupted')


class Prediction(NamedTuple):
    """What the networks say about a picture."""

    label: int  # the most probable class
    confidence: float  # its probability
    runner_up: int  # the second most probable class
    probabilities: Float[np.ndarray, 'classes']
    image: UInt8[np.ndarray, 'height width channels']  # the input of the networks


class Recognizer:
    """Predicts what pictures show."""

    def __init__(self, networks: Networks):
        self.networks = networks
        self.class_names = networks.class_names

    def predict(self, sources: Sequence[pictures.Source]) -> list[Prediction]:
        """Predicts what each picture shows.

        Args:
          sources: Names of files, their contents, or arrays, as in `pictures.read`.

        Raises:
          UserError: A picture cannot be read; or the networks know digits, and it shows
            none or several.
        """
        inputs = []
        for i, source in enumerate(sources, 1):
            unnamed = isinstance(source, bytes | np.ndarray)
            inputs.append(self.to_input(source, str(i) if unnamed else str(source)))
        return self.predict_inputs(inputs)

    def to_input(
        self, source: pictures.Source, name: str = 'picture'
    ) -> UInt8[np.ndarray, 'height width channels']:
        """Converts a picture to the input of the networks.

        Networks that were trained on the digits of MNIST or EMNIST get the digit in MNIST's
        format. Others get the whole picture, padded with the colour of its edge and
        resized.

        Args:
          source: As in `pictures.read`.
          name: What to call it in messages.

        Raises:
          UserError: As in `predict`.
        """
        of_run = str(self.networks.about.get('dataset')).partition('/')[0]
        if of_run in _MNIST and self.class_names == _DIGITS:
            return to_mnist_format(source, name)
        *size, channels = self.networks.image_shape
        pixels = resizing.to_pixels(source, name)
        return resizing.fit(
            resizing.to_channels(pixels, channels), (size[0], size[1]), stretch=False
        )

    def predict_inputs(
        self, inputs: Sequence[UInt8[np.ndarray, '_ _ _']]
    ) -> list[Prediction]:
        """Predicts from inputs of the networks, as `to_input` returns them."""
        images = np.array(inputs, np.uint8).reshape(-1, *self.networks.image_shape)
        predictions = []
        for image, row in zip(images, self.networks.probabilities(images), strict=True):
            label, runner_up = np.argsort(-row, kind='stable')[:2].tolist()
            predictions.append(Prediction(label, float(row[label]), runner_up, row, image))
        return predictions


def to_mnist_format(
    source: pictures.Source, name: str = 'picture'
) -> UInt8[np.ndarray, '28 28 1']:
    """Converts the digit in a picture to the format of MNIST's images.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.

    Raises:
      UserError: It cannot be read, or shows no digit or several.
    """
    return framing.frame(ink.find_ink(pictures.read(source, name), name), name)


def load(workdir: str | pathlib.Path = '', constructor: str = '') -> Recognizer:
    """Loads the networks of a finished run, as `load_networks`, to predict with."""
    return Recognizer(load_networks(workdir, constructor))
