"""Drawn digits as extra examples for training."""

import numpy as np
import scipy.ndimage
from jaxtyping import UInt8
from PIL import Image

from mnist_flax.common.errors import require
from mnist_flax.data.shards import Examples
from mnist_flax.drawing import hands, pens
from mnist_flax.drawing.curves import Stroke
from mnist_flax.recognition import framing
from mnist_flax.recognition.pictures import Gray

# Pixels of a digit's height while it is drawn.
_HEIGHT = 60

# This part of the pictures has only so many pixels in a digit's height. Its width changes
# by a factor with these logarithms: pictures that are made so small often get one size.
_COARSE, _COARSE_SIDES, _STRETCHED = 0.5, (6, 15), (-0.2, 0.6)

# Of the pens that are thinner than this part of the height, this part leaves gaps.
_THIN, _BROKEN = 0.09, 0.4


def draw_examples(number: int, class_names: tuple[str, ...]) -> Examples:
    """Draws digits, each by another hand, in the forms of `forms.FORMS`.

    MNIST was written in the USA, where a one is a plain stroke, a seven has no bar and a
    nine ends in a straight line; networks that have seen nothing else take the ones of
    other people for sevens.

    Args:
      number: How many; the same ones every time.
      class_names: Of the data set, which must be of the digits 0 to 9.

    Raises:
      UserError: The number is not positive, or the data set is of other things.
    """
    path = 'config.dataset.extra'
    require(number >= 1, f'{path}.number: found {number}; allowed: 1 or more')
    require(
        class_names == tuple('0123456789'),
        f'{path}: digits are drawn for data sets of the digits 0 to 9, not of '
        f'{", ".join(class_names)}; leave config.dataset.extra empty',
    )
    labels = np.arange(number, dtype=np.int32) % 10
    images = [draw_digit(int(label), seed) for seed, label in enumerate(labels)]
    return Examples(np.stack(images), labels)


def draw_digit(digit: int, seed: int) -> UInt8[np.ndarray, '28 28 1']:
    """Draws a digit by a hand, in MNIST's format."""
    hand, rng = hands.meet(seed), np.random.default_rng(seed)
    return to_mnist_format(hand.write(digit, rng), hand.pen, rng)


def to_mnist_format(
    strokes: list[Stroke], pen: float, rng: np.random.Generator
) -> UInt8[np.ndarray, '28 28 1']:
    """Draws strokes in MNIST's format, some as a picture of few pixels has them.

    Args:
      strokes: In heights of a digit.
      pen: Its width, in heights.
      rng: Chooses how many pixels there are.
    """
    ends = np.concatenate(strokes)
    margin = pen / 2 + 0.1
    low, high = ends.min(axis=0) - margin, ends.max(axis=0) + margin
    width, height = np.ceil(_HEIGHT * (high - low)).astype(int).tolist()
    moved = [_HEIGHT * (stroke - low) for stroke in strokes]
    ink = pens.draw(moved, pen * _HEIGHT, (height, width))
    if pen < _THIN and rng.random() < _BROKEN:
        ink = pens.wear(ink, pen * _HEIGHT, rng)
    if rng.random() >= _COARSE:
        return framing.centre(scipy.ndimage.gaussian_filter(ink, 0.2 * pen * _HEIGHT))
    return coarsen(ink, rng)


def coarsen(ink: Gray, rng: np.random.Generator) -> UInt8[np.ndarray, '28 28 1']:
    """Draws a digit in MNIST's format as a picture of few pixels has it.

    Args:
      ink: How much ink there is, from 0 to 1, around the digit.
      rng: Chooses how many pixels there are.
    """
    scale = rng.uniform(*_COARSE_SIDES) / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    width = max(1, round(width * np.exp(rng.uniform(*_STRETCHED))))
    few = Image.fromarray(ink).resize((width, height), Image.Resampling.BOX)
    coarse = np.asarray(few)
    return framing.frame_digit(coarse / coarse.max())
