"""From pictures to the input of the networks, and to predictions."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mnist_flax.common.errors import require
from mnist_flax.common.framings import FRAMINGS, Framing
from mnist_flax.data import edges
from mnist_flax.recognition import decoding, inputs, pictures, resizing, workers
from mnist_flax.recognition.networks import Networks, load_networks

# TFDS's data sets of images in MNIST's format.
_MNIST = ('mnist', 'emnist', 'mnist_corrupted')


class Prediction(NamedTuple):
    """What the networks say about a picture."""

    label: int  # the most probable class
    confidence: float  # its probability
    runner_up: int  # the second most probable class
    probabilities: Float[np.ndarray, 'classes']
    image: UInt8[np.ndarray, 'height width channels']  # the input of the networks


class Recognizer:
    """Predicts what pictures show.

    Attributes:
      networks: The networks.
      class_names: What they know.
      framing: How a picture becomes their input.
    """

    def __init__(self, networks: Networks, framing: Framing | None = None):
        """Makes a recognizer.

        Args:
          networks: The networks.
          framing: As in `inputs.to_input`. If None, as the images were made that they were
            trained on, if their data set says so; else 'mnist' for the data sets in MNIST's
            format, and 'pad' for others.
        """
        self.networks = networks
        self.class_names = networks.class_names
        self.framing = framing or framing_of(networks.about)

    def predict(self, sources: Any) -> list[Prediction]:
        """Predicts what each picture shows.

        Args:
          sources: One picture or several: names of files, their contents, Pillow's images,
            or arrays, as in `pictures.to_source`. An array has channels last; one of
            several pictures has one more axis, in front.

        Raises:
          UserError: As in `inputs.to_input`.
        """
        named = pictures.name_sources(sources)
        return self.predict_inputs([self.to_input(*each) for each in named])

    def decode(
        self, content: bytes, name: str, limits: workers.Limits = workers.LIMITS
    ) -> decoding.Pixels:
        """Decodes a picture, for `to_input`, within limits.

        Args:
          content: The content of a file.
          name: What to call it in messages.
          limits: What it may take.

        Raises:
          UserError: As in `workers.decode`.
        """
        return workers.decode(content, name, self.framing != 'mnist', limits)

    def to_input(
        self, source: pictures.Source, name: str = 'picture'
    ) -> UInt8[np.ndarray, 'height width channels']:
        """Converts a picture to the input of the networks.

        Args:
          source: As in `pictures.read`.
          name: What to call it in messages.

        Raises:
          UserError: As in `inputs.to_input`.
        """
        height, width, channels = self.networks.image_shape
        pixels = inputs.to_input(source, name, self.framing, (height, width))
        return resizing.to_channels(pixels, channels)

    def from_mnist_format(
        self, image: UInt8[np.ndarray, '28 28 1']
    ) -> UInt8[np.ndarray, 'height width channels']:
        """Converts an image in MNIST's format to the input of the networks."""
        height, width, channels = self.networks.image_shape
        return resizing.to_channels(resizing.fit(image, (height, width), False), channels)

    def explain_doubt(self, image: UInt8[np.ndarray, 'height width channels']) -> str:
        """Says why the prediction of an input may be wrong; '' if nothing is known.

        Whole pictures are compared with the images of the training: on a light background
        they are strange to a network that was trained on a dark one.
        """
        usual = self.networks.about.get('edges')  # which earlier versions do not note
        if self.framing == 'mnist' or not usual:
            return ''
        return edges.explain_difference(image, usual)

    def predict_inputs(
        self, images: Sequence[UInt8[np.ndarray, '_ _ _']]
    ) -> list[Prediction]:
        """Predicts from inputs of the networks, as `to_input` returns them."""
        none = np.zeros((0, *self.networks.image_shape), np.uint8)
        batch = np.stack([*images]) if len(images) else none
        rows = self.networks.probabilities(batch)
        return [to_prediction(*each) for each in zip(batch, rows, strict=True)]


def to_prediction(
    image: UInt8[np.ndarray, 'height width channels'],
    probabilities: Float[np.ndarray, 'classes'],
    certainty: float = 1.0,
) -> Prediction:
    """Makes a prediction.

    Args:
      image: The input of the networks.
      probabilities: What they say.
      certainty: The probability that the picture shows one of the classes at all.
    """
    label, runner_up = np.argsort(-probabilities, kind='stable')[:2].tolist()
    confidence = certainty * float(probabilities[label])
    return Prediction(label, confidence, runner_up, probabilities, image)


def framing_of(about: Mapping[str, Any]) -> Framing:
    """Says how pictures become the input of networks, by what their run has noted.

    Raises:
      UserError: It has noted a way that is not known.
    """
    of_run = str(about.get('dataset')).partition('/')[0]
    found = about.get('framing', 'mnist' if of_run in _MNIST else 'pad')
    require(
        found in FRAMINGS,
        f'--workdir: its networks take pictures by the framing {found!r}; known are '
        f'{", ".join(FRAMINGS)}, of which --framing chooses one',
    )
    return found


def load(
    workdir: str | pathlib.Path = '',
    constructor: str = '',
    framing: Framing | None = None,
) -> Recognizer:
    """Loads the networks of a finished run, as `load_networks`, to predict with."""
    return Recognizer(load_networks(workdir, constructor), framing)
