"""Labelled pictures, whatever they were stored as."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mnist_flax.common.errors import require

# A picture as `recognition.pictures.read` takes it.
Picture = str | pathlib.Path | bytes | np.ndarray

# The number or the name of a class.
Label = int | str


class Example(NamedTuple):
    """A picture with its label."""

    name: str  # for messages
    picture: Picture
    label: Label


class Part(NamedTuple):
    """The examples of a split, read when they are asked for."""

    size: int
    examples: Iterator[Example]


class Source(NamedTuple):
    """What is read from files: splits by name, 'all' if there are none."""

    parts: dict[str, Part]
    class_names: tuple[str, ...] | None = None  # if known
    note: str = ''  # what was done to the pictures


class Options(NamedTuple):
    """How the columns of a table, or the arrays of a file, are called; '' if as usual."""

    image_key: str = ''
    label_key: str = ''
    pixels_shape: tuple[int, ...] = ()  # of a row of a CSV file
    white: float = 255.0  # the number that stands for white


def from_arrays(
    images: np.ndarray, labels: np.ndarray, name: str, white: float
) -> tuple[int, Iterator[Example]]:
    """Checks arrays of pictures and labels, and gives their examples.

    Args:
      images: Numbers of shape (n, height, width) or (n, height, width, channels).
      labels: Numbers or names of the classes, one for each picture.
      name: Of the file, for messages.
      white: The number that stands for white.

    Raises:
      UserError: They are of another kind, or do not belong together.
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    require(
        images.ndim in (3, 4) and images.shape[3:] in ((), (1,), (3,), (4,)),
        f'{name}: the pictures are an array of shape {images.shape}; it must be (n, '
        'height, width) or (n, height, width, channels), with 1, 3 or 4 channels',
    )
    require(
        labels.shape == images.shape[:1],
        f'{name}: it has {len(images)} pictures, but labels of shape {labels.shape}; it '
        'must have one label for each picture',
    )
    whole = labels.dtype.kind == 'f' and bool((labels == np.round(labels)).all())
    labels = labels.astype(np.int64) if whole else labels
    require(
        labels.dtype.kind in 'iuUSb',
        f'{name}: the labels are {labels.dtype}; they must be whole numbers, or names',
    )
    names = labels.astype(str) if labels.dtype.kind == 'S' else labels
    pixels = to_bytes(images, name, white)
    examples = (
        Example(f'{name}, picture {i + 1}', image, label)
        for i, (image, label) in enumerate(zip(pixels, names.tolist(), strict=True))
    )
    return len(images), examples


def to_bytes(pixels: np.ndarray, name: str, white: float) -> np.ndarray:
    """Maps numbers from 0 (black) to ``white`` to bytes.

    Raises:
      UserError: They are not numbers, or not in that range.
    """
    if pixels.dtype == np.uint8 and white == 255:
        return pixels
    if pixels.dtype == bool:
        return pixels * np.uint8(255)
    require(
        pixels.dtype.kind in 'iuf', f'{name}: the pixels are {pixels.dtype}, not numbers'
    )
    least, most = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    require(
        bool(least >= 0 and most <= white),
        f'{name}: the pixels are from {least} to {most}; they must be from 0 (black) to '
        f'{white:g} (white). --white says which number is white',
    )
    scaled = np.asarray(pixels, np.float32) * (255 / white)
    rounded = np.round(scaled)
    require(
        white != 255 or bool((scaled == rounded).all()),
        f'{name}: the pixels are fractions, from {least:g} to {most:g}; --white says which '
        'number is white, such as 1',
    )
    return rounded.astype(np.uint8)
