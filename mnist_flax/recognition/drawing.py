"""Digits drawn by strokes, in forms that MNIST's writers seldom use and others often do."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from mnist_flax.common.errors import require
from mnist_flax.data.shards import Examples
from mnist_flax.recognition import framing

# Pixels of a digit's height while it is drawn.
_HEIGHT = 100

_SEED = 0

# In units of the height, x to the right and y down from the top.
Stroke = Float[np.ndarray, '_ 2']


def draw_examples(number: int, class_names: tuple[str, ...]) -> Examples:
    """Draws ones with a flag and nines with a hooked tail, alternately.

    In MNIST, written in the USA, a one is a plain stroke and a nine ends in one. Elsewhere
    many draw the one's flag as long as half the stroke, and bend the nine's tail to the
    left; networks that have not seen that take them for fours, sevens, eights and threes.

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
    rng = np.random.default_rng(_SEED)
    images, labels = [], []
    for i in range(number):
        label, form = ((1, _one), (9, _nine))[i % 2]
        images.append(_draw(form(rng), rng.uniform(0.06, 0.2)))
        labels.append(label)
    return Examples(np.stack(images), np.array(labels, np.int32))


def _one(rng: np.random.Generator) -> list[Stroke]:
    top, bottom = np.array([rng.uniform(-0.1, 0.35), 0]), np.array([0.0, 1.0])
    angle, length = np.radians(rng.uniform(25, 65)), rng.uniform(0.2, 0.5)
    flag = top + length * np.array([-np.sin(angle), np.cos(angle)])
    strokes = [
        _bend(flag, top, rng.normal(0, 0.05)),
        _bend(top, bottom, rng.normal(0, 0.02)),
    ]
    if rng.random() < 0.1:
        half = rng.uniform(0.1, 0.25)
        strokes.append(np.array([[-half, 1.0], [half, 1 + rng.normal(0, 0.05)]]))
    return strokes


def _nine(rng: np.random.Generator) -> list[Stroke]:
    width, height = rng.uniform(0.14, 0.3), rng.uniform(0.14, 0.28)
    start, end = rng.uniform(-60, 0), rng.uniform(-420, -340)
    loop = _arc(0.0, height, width, height, start, end)
    hook, depth = rng.uniform(0.15, 0.3), rng.uniform(0.15, 0.25)
    tail = np.concatenate(
        [
            [[width, height * rng.uniform(0.3, 1)]],
            _arc(width - hook, 1 - depth, hook, depth, 0.0, rng.uniform(90, 200)),
        ]
    )
    slant = np.array([[1, 0], [rng.uniform(-0.15, 0.25), 1]])
    return [loop @ slant, tail @ slant]


def _bend(start: Float[np.ndarray, '2'], end: Float[np.ndarray, '2'], bow: float) -> Stroke:
    """Draws a line that bows out by a part of its length."""
    along = np.linspace(0, 1, 12)[:, None]
    across = np.array([start[1] - end[1], end[0] - start[0]])
    return start + along * (end - start) + 4 * bow * along * (1 - along) * across


def _arc(
    x: float, y: float, width: float, height: float, start: float, end: float
) -> Stroke:
    """Draws part of an ellipse, between two angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 30))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def _draw(strokes: list[Stroke], pen: float) -> UInt8[np.ndarray, '28 28 1']:
    """Draws with a round pen, whose width is a part of the height."""
    image = Image.new('L', (2 * _HEIGHT, 2 * _HEIGHT))
    canvas = ImageDraw.Draw(image)
    width = pen * _HEIGHT
    for stroke in strokes:
        points = [tuple(point) for point in _HEIGHT * (0.5 + stroke)]
        canvas.line(points, fill=255, width=round(width), joint='curve')
        for x, y in (points[0], points[-1]):
            canvas.circle((x, y), width / 2, fill=255)
    soft = scipy.ndimage.gaussian_filter(np.asarray(image) / 255.0, 0.2 * width)
    return framing.centre(soft)
