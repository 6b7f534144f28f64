"""Strokes as ink on a raster."""

import numpy as np
import scipy.ndimage
from PIL import Image, ImageDraw

from mnist_flax.drawing.curves import Stroke
from mnist_flax.recognition.pictures import Gray

# Pillow draws without soft edges: what is drawn has so many times the pixels at first.
_FINER = 3


def draw(strokes: list[Stroke], pen: float, size: tuple[int, int]) -> Gray:
    """Draws with a round pen.

    Args:
      strokes: In pixels, x to the right and y down.
      pen: Its width, in pixels.
      size: Height and width of the raster.

    Returns:
      How much ink there is, from 0 to 1.
    """
    height, width = size
    image = Image.new('L', (_FINER * width, _FINER * height))
    canvas = ImageDraw.Draw(image)
    wide = max(1, round(_FINER * pen))
    for stroke in strokes:
        points = [(x, y) for x, y in (_FINER * stroke).tolist()]
        canvas.line(points, fill=255, width=wide, joint='curve')
        for x, y in (points[0], points[-1]):
            canvas.circle((x, y), wide / 2, fill=255)
    return np.asarray(image.reduce(_FINER), np.float32) / 255


def wear(ink: Gray, pen: float, rng: np.random.Generator) -> Gray:
    """Takes ink away where the paper is rough, as of a pen that is nearly empty.

    Args:
      ink: What is drawn.
      pen: The width of the pen, in pixels.
      rng: Chooses the places.
    """
    grain = scipy.ndimage.gaussian_filter(rng.normal(size=ink.shape), pen / 2)
    return np.where(grain < 1.3 * grain.std(), ink, 0).astype(np.float32)
