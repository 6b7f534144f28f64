"""Strokes as points: arcs, smooth lines through points, and how a hand moves them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# In units of a digit's height, x to the right and y down; a digit's top is at 0, its bottom
# at 1, and its middle at x = 0.
Stroke = Float[np.ndarray, '_ 2']
Number = float | int
Place = Sequence[Number] | Float[np.ndarray, '2']

# Points between two that are given.
_STEPS = 8


def arc(
    x: Number, y: Number, width: Number, height: Number, start: Number, end: Number
) -> Stroke:
    """Draws part of an ellipse.

    Args:
      x: Of its middle.
      y: Likewise.
      width: Half of its width.
      height: Half of its height.
      start: Angle in degrees, clockwise from the right.
      end: Likewise; smaller than ``start`` if it is drawn the other way.
    """
    number = 2 + int(abs(end - start) / 12)
    angles = np.radians(np.linspace(start, end, number))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def line(*points: Place) -> Stroke:
    """Draws straight lines from point to point."""
    return np.array(points, float)


def smooth(*pieces: Place | Stroke) -> Stroke:
    """Draws a smooth line through points, and strokes, one after another.

    It is the spline of Catmull and Rom (1974, "A class of local interpolating splines").
    """
    points = np.concatenate([np.atleast_2d(np.asarray(of, float)) for of in pieces])
    ends = 2 * points[[0, -1]] - points[[1, -2]]
    a, b, c, d = (
        np.concatenate([ends[:1], points, ends[1:]])[i : len(points) - 1 + i, None]
        for i in range(4)
    )
    t = np.linspace(0, 1, _STEPS, endpoint=False)[:, None]
    curve = b + 0.5 * t * (
        c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))
    )
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def bend(start: Place, end: Place, bow: float) -> Stroke:
    """Draws a line that bows out, to its left as it is drawn, by a part of its length."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    along = np.linspace(0, 1, 12)[:, None]
    across = np.array([first[1] - last[1], last[0] - first[0]])
    return first + along * (last - first) + 4 * bow * along * (1 - along) * across


def wobble(strokes: list[Stroke], amount: float, rng: np.random.Generator) -> list[Stroke]:
    """Displaces strokes smoothly, as no hand draws the same twice.

    Args:
      strokes: What is drawn.
      amount: Standard deviation of the displacement, in heights.
      rng: Chooses it.
    """
    # A few waves across the digit, so that strokes that touch still do.
    directions = rng.normal(0, 4, (4, 2))
    phases = rng.uniform(0, 2 * np.pi, (4, 2))
    amounts = rng.normal(0, amount / np.sqrt(2), (4, 2))

    def displace(stroke: Stroke) -> Stroke:
        waves = np.sin((stroke @ directions.T)[:, :, None] + phases)
        return stroke + (amounts * waves).sum(axis=1)

    return [displace(stroke) for stroke in strokes]
