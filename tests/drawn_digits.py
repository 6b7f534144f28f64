"""Digits drawn by strokes, for the tests of pictures."""

import numpy as np
from PIL import Image, ImageDraw

from mnist_flax.recognition.inputs import to_mnist_format


def arc(x, y, width, height, start, end):
    """Points of an ellipse, between two angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 24))
    return [(x + width * np.cos(a), y + height * np.sin(a)) for a in angles]


# Strokes as a person's, in a unit square, x to the right and y down.
STROKES = {
    0: [arc(0.5, 0.5, 0.2, 0.35, -90, 270)],
    1: [[(0.4, 0.3), (0.55, 0.15), (0.55, 0.85)]],
    2: [[*arc(0.5, 0.33, 0.19, 0.18, 190, 390), (0.3, 0.85), (0.72, 0.85)]],
    3: [[*arc(0.48, 0.32, 0.19, 0.17, 210, 440), *arc(0.48, 0.66, 0.21, 0.19, 280, 510)]],
    4: [[(0.45, 0.15), (0.3, 0.55), (0.7, 0.55)], [(0.6, 0.35), (0.6, 0.85)]],
    5: [[(0.36, 0.15), (0.34, 0.46), *arc(0.46, 0.64, 0.2, 0.19, 250, 500)],
        [(0.36, 0.15), (0.68, 0.15)]],
    6: [[(0.6, 0.15), (0.42, 0.35), *arc(0.5, 0.65, 0.19, 0.19, 190, 550)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)]],
    8: [arc(0.5, 0.32, 0.16, 0.16, 90, 450), arc(0.5, 0.67, 0.19, 0.19, -90, 270)],
    9: [[*arc(0.5, 0.35, 0.18, 0.18, 0, 360), (0.66, 0.6), (0.6, 0.85)]],
}  # fmt: skip


def draw(digit, size=200, pen=0.06, paper=230, ink=30, place=(0, 0, 1)):
    """Draws a digit; ``place`` is its corner and size, as parts of the picture's."""
    x, y, scale = place
    image = Image.new('L', (4 * size, 4 * size), paper)
    canvas = ImageDraw.Draw(image)
    for stroke in STROKES[digit]:
        points = [
            (4 * size * (x + scale * a), 4 * size * (y + scale * b)) for a, b in stroke
        ]
        width = round(4 * size * scale * pen)
        canvas.line(points, fill=ink, width=width, joint='curve')
        for a, b in points:
            box = (a - width / 2, b - width / 2, a + width / 2, b + width / 2)
            canvas.ellipse(box, fill=ink)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def draw_boxes(*margins, size=200, line=2, page=None):
    """Draws squares around the middle, on white or on a page."""
    image = Image.new('L', (size, size), 255) if page is None else Image.fromarray(page)
    for margin in margins:
        box = (margin, margin, image.width - 1 - margin, image.height - 1 - margin)
        ImageDraw.Draw(image).rectangle(box, outline=30, width=line)
    return np.asarray(image)


def differ(one, other):
    """The mean difference of two pictures in MNIST's format, of 255."""
    one, other = (to_mnist_format(page).astype(float) for page in (one, other))
    return np.abs(one - other).mean()
