"""Paper, light, and the table around: strokes as a photograph shows them."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from PIL import Image

from mnist_flax.drawing import pens
from mnist_flax.drawing.curves import Stroke, line
from mnist_flax.reading import sheets
from mnist_flax.recognition.pictures import Colours, Gray

PAPERS = (
    'plain',
    'rough',
    'lamp',
    'vignette',
    'shadow',
    'ruled',
    'dark rules',
    'squared',
    'dotted',
    'table around',
    'perspective',
    'dark edge',
    'specks',
    'thin pen',
    'faint pen',
    'board',
)

# Colours of pens, and of what is printed.
_PENS = ((25, 25, 30), (30, 45, 150), (190, 35, 35), (70, 70, 75), (25, 100, 50))
_PRINT = (120, 160, 210)

# Pixels of the longer side, at most, and of the shorter one, at least.
_MOST_PIXELS, _LEAST_PIXELS = 1500, 60

Colour = Float[np.ndarray, '3']


def photograph(
    strokes: list[Stroke], pen: float, height: float, paper: str, rng: np.random.Generator
) -> UInt8[np.ndarray, 'height width 3']:
    """Draws strokes on paper, and photographs it.

    Args:
      strokes: In heights of a digit; none for an empty page.
      pen: Its width, in heights; a thin pen has its own.
      height: Of a digit, in pixels; less if the picture became too large.
      paper: One of `PAPERS`, or something else for a plain one.
      rng: Chooses what else there is.
    """
    ends = np.concatenate(strokes) if strokes else np.array([[0.0, 0.0], [2.0, 1.5]])
    low = ends.min(axis=0) - rng.uniform(0.4, 2.0, 2)
    high = ends.max(axis=0) + rng.uniform(0.4, 2.0, 2)
    height = min(height, _MOST_PIXELS / float((high - low).max()))
    width, length = np.ceil(np.maximum(height * (high - low), _LEAST_PIXELS)).astype(int)
    size = (int(length), int(width))
    pixels_of_pen = max(1.2, height * min(pen, 0.16))
    if paper == 'thin pen':
        pixels_of_pen = max(1.2, height * rng.uniform(0.025, 0.04))
    ink = np.zeros(size, np.float32)
    if strokes:
        ink = pens.draw([height * (of - low) for of in strokes], pixels_of_pen, size)
    if paper == 'thin pen':
        ink = pens.wear(ink, pixels_of_pen, rng)
    ink = scipy.ndimage.gaussian_filter(ink, rng.uniform(0.4, 0.9))
    strength = rng.uniform(0.25, 0.4) if paper == 'faint pen' else rng.uniform(0.75, 1.0)
    colour = np.array(_PENS[rng.integers(len(_PENS))]) / 255
    sheet = _print(size, paper, height, colour, rng)
    sheet = _cover(sheet, strength * ink, colour)
    if paper == 'board':
        sheet = 1.05 - sheet
    picture = _light(sheet, paper, rng)
    if paper in ('table around', 'perspective'):
        picture = _lay(picture, paper == 'perspective', rng)
    return _expose(picture, paper, rng)


def _cover(sheet: Colours, ink: Gray, colour: Colour) -> Colours:
    return sheet * (1 - ink[..., None]) + colour * ink[..., None]


def _print(
    size: tuple[int, int], paper: str, unit: float, pen: Colour, rng: np.random.Generator
) -> Colours:
    """Makes the paper with what is on it already: lines, dots, specks, a dark edge.

    Args:
      size: Height and width, in pixels.
      paper: What it is.
      unit: Height of a digit, in pixels.
      pen: The colour of the pen.
      rng: Chooses.
    """
    height, width = size
    tint = 1 - np.array([0, rng.uniform(0, 0.06), rng.uniform(0, 0.15)])
    sheet = np.ones((height, width, 3)) * rng.uniform(0.6, 0.97) * tint
    if paper == 'dark edge':
        wide = int(unit * rng.uniform(0.05, 0.25)) + 1
        edges = (np.s_[:, :wide], np.s_[:, -wide:], np.s_[:wide], np.s_[-wide:])
        sheet[edges[rng.integers(4)]] = rng.uniform(0.05, 0.3)
        return sheet
    printed = np.zeros(size)
    if paper in ('ruled', 'dark rules', 'squared'):
        printed = _rule(size, unit, paper == 'squared', rng)
    elif paper == 'dotted':
        step = unit * rng.uniform(0.3, 0.8)
        y, x = np.mgrid[:height, :width]
        off = np.hypot((x % step) - step / 2, (y % step) - step / 2)
        printed = np.clip(1.5 + 0.02 * unit - off, 0, 1)
    elif paper == 'specks':
        for _ in range(rng.integers(2, 12)):
            place, long = rng.uniform(0, [width, height]), unit * rng.uniform(0.02, 0.1)
            speck = np.stack([place, place + rng.normal(0, long, 2)])
            printed = np.maximum(printed, pens.draw([speck], long, size))
    is_dark = paper in ('dark rules', 'specks')
    is_dark |= paper in ('squared', 'dotted') and rng.random() < 0.5
    colour = pen if is_dark else np.array(_PRINT) / 255
    return _cover(sheet, rng.uniform(0.6, 1.0) * printed, colour)


def _rule(
    size: tuple[int, int], unit: float, is_squared: bool, rng: np.random.Generator
) -> Gray:
    height, width = size
    step = unit * (rng.uniform(0.35, 1.2) if is_squared else rng.uniform(0.9, 2.2))
    tilt = rng.normal(0, 0.012)
    first = rng.uniform(-step, 0)
    lines = [
        line((-10, y - tilt * width / 2), (width + 10, y + tilt * width / 2))
        for y in np.arange(first, height + step, step)
    ]
    if is_squared:
        lines += [
            line((x + tilt * height / 2, -10), (x - tilt * height / 2, height + 10))
            for x in np.arange(first, width + step, step)
        ]
    return pens.draw(lines, max(1.0, unit * rng.uniform(0.01, 0.035)), size)


def _light(sheet: Colours, paper: str, rng: np.random.Generator) -> Colours:
    height, width = sheet.shape[:2]
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    light = 1 - rng.uniform(0, 0.2) * (x * rng.choice([-1, 1]) + y * rng.choice([-1, 1]))
    if paper == 'lamp':
        place = rng.uniform(0, 1, 2)
        off = (x - place[0]) ** 2 + (y - place[1]) ** 2
        light = rng.uniform(0.35, 0.6) + np.exp(-off / rng.uniform(0.05, 0.3))
    elif paper == 'vignette':
        light = 1 - rng.uniform(0.6, 1.3) * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    elif paper == 'shadow':
        angle, off = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25)
        side = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) - off
        edge = 1 + np.exp(-side / rng.uniform(0.003, 0.05))
        light *= 1 - rng.uniform(0.3, 0.6) / edge
    return sheet * (light / light.max())[..., None]


def _lay(sheet: Colours, is_tilted: bool, rng: np.random.Generator) -> Colours:
    """Lays the sheet on a table, and looks at it from above or from a side."""
    height, width = sheet.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    seen = corners - corners.mean(axis=0)
    if is_tilted:
        turn = np.radians(rng.uniform(-12, 12))
        seen = seen @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        tilt = rng.uniform(-1, 1, 2) * [0.12 / width, 0.2 / height]
        seen = seen / (1 + seen @ tilt)[:, None]
    margin = rng.uniform(0.08, 0.3) * min(height, width)
    seen = seen - seen.min(axis=0) + margin
    size = np.ceil(seen.max(axis=0) + margin).astype(int).tolist()
    back = sheets.solve(seen, corners).ravel()[:8].tolist()
    whole = np.concatenate([sheet, np.ones((height, width, 1))], axis=-1)
    image = Image.fromarray(np.round(255 * np.clip(whole, 0, 1)).astype(np.uint8))
    bicubic = Image.Resampling.BICUBIC
    laid = (
        np.asarray(image.transform(size, Image.Transform.PERSPECTIVE, back, bicubic)) / 255
    )
    wood = scipy.ndimage.gaussian_filter(rng.normal(size=size[::-1]), (0.6, 25))
    table = rng.uniform(0.08, 0.5) * (1 + rng.uniform(0, 0.8) * wood)[..., None]
    table = table * (1 - rng.uniform(0, 0.5, 3) * [0, 0.5, 1])
    covered = laid[..., 3:]
    return covered * laid[..., :3] + (1 - covered) * table


def _expose(
    picture: Colours, paper: str, rng: np.random.Generator
) -> UInt8[np.ndarray, '_ _ 3']:
    """Adds the grain of paper and sensor."""
    size = picture.shape[:2]
    is_rough = paper == 'rough'
    grain = rng.uniform(0.015, 0.04) if is_rough else rng.uniform(0.003, 0.012)
    noise = rng.normal(0, grain, size=(*size, 1)) + rng.normal(0, 0.004, picture.shape)
    if is_rough:
        noise = 1.5 * scipy.ndimage.gaussian_filter(noise, (0.8, 0.8, 0))
    return np.round(255 * np.clip(picture + noise, 0, 1)).astype(np.uint8)
