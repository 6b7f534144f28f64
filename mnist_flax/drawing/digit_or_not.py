"""A data set that tells digits from other things: MNIST's, drawn ones, and what is none."""

import multiprocessing
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from mnist_flax.data import datasets
from mnist_flax.drawing import examples, hands, others

CLASS_NAMES = ('other', 'digit')

# So many are drawn to train on of other things, of digits, and of MNIST's images as
# pictures of few pixels show them; a tenth as many to test on, by other hands.
_NUM_OTHERS, _NUM_DRAWN, _NUM_COARSE = 40_000, 16_000, 20_000
_TESTED = 10

# Hands and images from this number on are tested on.
_FIRST_TESTED = 1_000_000

# MNIST's training images from this one on are tested on; its test images are not used.
_FIRST_IMAGE_TESTED = 50_000


class Part(NamedTuple):
    """Images to train on, or to test on."""

    images: UInt8[np.ndarray, 'images 28 28 1']
    labels: Int[np.ndarray, 'images']  # numbers of `CLASS_NAMES`


def draw(processes: int) -> tuple[Part, Part]:
    """Draws the images, the same ones every time.

    Args:
      processes: How many processes draw; with all cores it takes some minutes of each.

    Returns:
      Those to train on, and those to test on.
    """
    fields = datasets.Fields('name', 'data_dir', 'split')
    mnist = datasets.load_split('mnist', '', 'train', fields).examples.images
    with multiprocessing.get_context('spawn').Pool(processes) as pool:

        def draw_all(one: Callable[[int], np.ndarray], first: int, number: int):
            return np.stack(pool.map(one, range(first, first + number), chunksize=500))

        parts = []
        for first, fraction in ((0, 1), (_FIRST_TESTED, _TESTED)):
            own = mnist[:_FIRST_IMAGE_TESTED] if not first else mnist[_FIRST_IMAGE_TESTED:]
            number = _NUM_COARSE // fraction
            parts.append(
                _join(
                    draw_all(_draw_other, first, _NUM_OTHERS // fraction),
                    draw_all(_draw_digit, first, _NUM_DRAWN // fraction),
                    np.stack([_coarsen(own[i], i) for i in range(number)]),
                    own[number:],
                )
            )
    return parts[0], parts[1]


def _join(
    other: UInt8[np.ndarray, '_ 28 28 1'], *digits: UInt8[np.ndarray, '_ 28 28 1']
) -> Part:
    images = np.concatenate([other, *digits])
    labels = np.repeat([0, 1], [len(other), len(images) - len(other)])
    order = np.random.default_rng(0).permutation(len(images))
    return Part(images[order], labels[order])


def _draw_other(number: int) -> UInt8[np.ndarray, '28 28 1']:
    hand, rng = hands.meet(number), np.random.default_rng([number, 3])
    return examples.to_mnist_format(others.draw_other(hand, rng), hand.pen, rng)


def _draw_digit(number: int) -> UInt8[np.ndarray, '28 28 1']:
    return examples.draw_digit(number % 10, number)


def _coarsen(
    image: UInt8[np.ndarray, '28 28 1'], number: int
) -> UInt8[np.ndarray, '28 28 1']:
    pixels = image[..., 0]
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    digit = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / np.float32(255)
    return examples.coarsen(digit, np.random.default_rng([number, 4]))
