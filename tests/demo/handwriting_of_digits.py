"""Digits as a person draws them on a surface: strokes of many small, uneven moves."""

import io

import numpy as np
from PIL import Image, ImageDraw
from scipy import interpolate

# Points that the pen passes, in a unit square, x to the right and y down; a point twice in
# a row is a corner. Made once, before any network had seen them.
_KNOTS = {
    0: [[(0.60, 0.12), (0.42, 0.13), (0.27, 0.32), (0.25, 0.60), (0.36, 0.85), (0.55, 0.88),
         (0.72, 0.68), (0.75, 0.40), (0.66, 0.18), (0.52, 0.11)]],
    1: [[(0.54, 0.10), (0.52, 0.35), (0.50, 0.62), (0.47, 0.90)]],
    2: [[(0.28, 0.30), (0.38, 0.14), (0.56, 0.11), (0.69, 0.25), (0.62, 0.46), (0.44, 0.68),
         (0.25, 0.87), (0.25, 0.87), (0.48, 0.85), (0.76, 0.88)]],
    3: [[(0.29, 0.20), (0.45, 0.10), (0.64, 0.17), (0.65, 0.34), (0.44, 0.46), (0.44, 0.46),
         (0.66, 0.54), (0.72, 0.72), (0.55, 0.89), (0.30, 0.83)]],
    4: [[(0.38, 0.12), (0.33, 0.34), (0.24, 0.57), (0.24, 0.57), (0.50, 0.58),
         (0.76, 0.55)],
        [(0.60, 0.33), (0.58, 0.60), (0.57, 0.92)]],
    5: [[(0.35, 0.13), (0.32, 0.30), (0.30, 0.45), (0.30, 0.45), (0.50, 0.40), (0.69, 0.53),
         (0.69, 0.74), (0.51, 0.89), (0.28, 0.83)],
        [(0.35, 0.14), (0.52, 0.13), (0.70, 0.10)]],
    6: [[(0.64, 0.10), (0.45, 0.24), (0.31, 0.48), (0.28, 0.72), (0.42, 0.89), (0.62, 0.86),
         (0.70, 0.69), (0.58, 0.55), (0.40, 0.60), (0.31, 0.73)]],
    7: [[(0.25, 0.15), (0.48, 0.14), (0.74, 0.12), (0.74, 0.12), (0.60, 0.45),
         (0.44, 0.90)],
        [(0.38, 0.52), (0.54, 0.51), (0.70, 0.49)]],
    8: [[(0.66, 0.20), (0.50, 0.10), (0.35, 0.21), (0.42, 0.38), (0.60, 0.53), (0.68, 0.72),
         (0.52, 0.90), (0.33, 0.77), (0.40, 0.57), (0.58, 0.40), (0.67, 0.22)]],
    9: [[(0.68, 0.24), (0.52, 0.11), (0.34, 0.22), (0.33, 0.42), (0.50, 0.50), (0.66, 0.38),
         (0.69, 0.22), (0.69, 0.22), (0.67, 0.52), (0.62, 0.91)]],
}  # fmt: skip


def write(digit, place=(0, 0, 1), seed=0):
    """The strokes of a digit as lists of points.

    Args:
      digit: Which one.
      place: Its corner and size, as parts of the surface's side.
      seed: Of the hand that shakes a little.
    """
    rng = np.random.default_rng([digit, seed])
    x, y, scale = place
    strokes = []
    for knots in _KNOTS[digit]:
        last = len(knots) - 1
        curve = interpolate.Akima1DInterpolator(range(last + 1), knots)
        points = curve(np.linspace(0, last, 5 * last + 1))
        strokes.append((points + rng.normal(0, 0.003, points.shape)) * scale + (x, y))
    return strokes


def draw(digit, size=280):
    """The digit as a gray picture, black on white."""
    image = Image.new('L', (size, size), 255)
    for stroke in write(digit):
        points = [tuple(point) for point in stroke * size]
        ImageDraw.Draw(image).line(points, 0, width=round(0.06 * size), joint='curve')
    return np.asarray(image)


def to_file(pixels, kind='PNG'):
    """The content of a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
