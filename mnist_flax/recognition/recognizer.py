"""Pictures to the input of a network, and to its predictions."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mnist_flax.data.datasets import IMAGE_SHAPE
from mnist_flax.recognition import framing, ink, pictures
from mnist_flax.recognition.networks import Networks, load_networks

_DIGITS = tuple('0123456789')


class Prediction(NamedTuple):
    """What the networks say of a picture."""

    label: int  # the likeliest class
    confidence: float  # its probability
    runner_up: int  # the next likely class
    probabilities: Float[np.ndarray, 'classes']
    image: UInt8[np.ndarray, '28 28 1']  # the input of the networks


class Recognizer:
    """Predicts what pictures show."""

    def __init__(self, networks: Networks):
        self.networks = networks
        self.class_names = networks.class_names

    def predict(self, sources: Sequence[pictures.Source]) -> list[Prediction]:
        """Predicts what pictures show.

        Args:
          sources: Files by name, their contents, or arrays, as in `pictures.read`.

        Returns:
          A prediction for each.

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
    ) -> UInt8[np.ndarray, '28 28 1']:
        """Makes a picture the input of the networks.

        Networks of the ten digits get the digit in MNIST's format; others get the whole
        picture, resized.

        Args:
          source: As in `pictures.read`.
          name: What to call it in messages.

        Raises:
          UserError: As in `predict`.
        """
        if self.class_names == _DIGITS:
            return to_mnist_format(source, name)
        return resize(source, name)

    def predict_inputs(
        self, inputs: Sequence[UInt8[np.ndarray, '28 28 1']]
    ) -> list[Prediction]:
        """Predicts from inputs of the networks, which `to_input` makes."""
        images = np.stack(inputs) if len(inputs) else np.zeros((0, *IMAGE_SHAPE), np.uint8)
        predictions = []
        for image, row in zip(images, self.networks.probabilities(images), strict=True):
            label, runner_up = np.argsort(-row, kind='stable')[:2].tolist()
            confidence = float(row[label])
            predictions.append(Prediction(label, confidence, runner_up, row, image))
        return predictions


def to_mnist_format(
    source: pictures.Source, name: str = 'picture'
) -> UInt8[np.ndarray, '28 28 1']:
    """Brings the digit in a picture into the format of MNIST's images.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.

    Raises:
      UserError: It cannot be read, or shows no digit or several.
    """
    colours = pictures.read(source, name)
    return framing.frame(ink.find_ink(colours, name), name)


def resize(source: pictures.Source, name: str = 'picture') -> UInt8[np.ndarray, '28 28 1']:
    """Resizes a whole picture, in shades of gray, to the size of MNIST's images.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.

    Raises:
      UserError: It cannot be read.
    """
    colours = pictures.read(source, name)
    gray = Image.fromarray(np.round(255 * colours.mean(axis=2)).astype(np.uint8))
    height, width, _ = IMAGE_SHAPE
    small = gray.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small)[..., None]


def load(workdir: str | pathlib.Path = '', constructor: str = '') -> Recognizer:
    """Loads a recognizer from the workdir of a finished run, see `load_networks`."""
    return Recognizer(load_networks(workdir, constructor))
