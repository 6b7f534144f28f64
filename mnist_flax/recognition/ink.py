"""What is drawn in a picture: dark on light or light on dark, under uneven light."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from mnist_flax.common.errors import require
from mnist_flax.recognition import light, sheet

Colours = Float[np.ndarray, '_ _ 3']
Gray = Float[np.ndarray, '_ _']
Solid = Bool[np.ndarray, '_ _']

# Otsu's measure is 0.64 for a normal distribution and 0.75 for a uniform one, which have
# nothing drawn in them, and 1 for two values. Small digits on rough paper have 0.7.
_LEAST_SEPARATION = 0.66

# Of brightness, which is 1.7 from black to white where colours are projected. Below, the
# rounding to 255 steps begins to show.
_LEAST_CONTRAST = 0.04

# To what part a tilted or curved background must bring the variance that is left on the
# two sides, to be preferred to a simpler one.
_GAIN = 0.5

# Per cent of the ink's pixels that are not quite covered: those at the edges of strokes,
# which are many in a coarse picture.
_FULL = 75

# In each other: a box with a frame, on a form that lies on a table.
_MOST_SHEETS = 3

# Shadows are looked for in pictures with so many pixels each way: coarse ones show none.
_LEAST_SIDE = 64

# Pixels of the longer side while they are: at least so many, and fewer than twice.
_MANY = 250

# Of the variance: shadows are looked for where a digit explains less.
_CLEAR = 0.82

# Of the picture's shorter side: hardly a stroke goes on along the margin for as long, or a
# frame or a line is as thick.
_LONG_RUN, _WIDE = 0.8, 0.15

# Of the picture's longer side. Edges of strokes are sharper than of a lamp's light, if they
# were not drawn with a few pixels.
_SOFT = 0.1

# By what part of the variance the two sides must be further apart without shadows.
_CLEARER = 0.08

# Of the paper's brightness, where shadows were evened, which makes noise stronger.
_LEAST_PART = 0.15

# Of neighbours. In 200 pictures of static with 16x16 pixels or more it was up to 0.11, in
# digits of MNIST and of other hands at least 0.33; in larger ones noise has holes.
_LEAST_CORRELATION, _STATIC = 0.2, range(16, 100)


class _Split(NamedTuple):
    threshold: float
    separation: float  # part of the variance that is between the two sides
    within: float  # the variance that is left on them


class _Drawing(NamedTuple):
    values: Gray  # brighter or darker where there is ink
    ink: Solid
    separation: float

    def levels(self) -> tuple[float, float]:
        """Gives the values of paper and of full ink."""
        ink, paper = self.values[self.ink], self.values[~self.ink]
        if not ink.size or not paper.size:
            return 0.0, 0.0
        is_brighter = ink.min() > paper.max()
        full = np.percentile(ink, _FULL if is_brighter else 100 - _FULL)
        return float(np.median(paper)), float(full)


def find_ink(colours: Colours, name: str) -> Gray:
    """Finds what is drawn, in whatever colour on whatever other one.

    The colours are projected on the line along which they differ most, the light is taken
    away, and Otsu's threshold (1979, "A threshold selection method from gray-level
    histograms") tells the ink from the paper. The ink is the side that has less of the
    picture and of its margin. If that is a sheet of paper or a box, the same is done
    within it; if it may be the edge of a shadow, shadows are taken away.

    Args:
      colours: The picture, from 0 to 1.
      name: What to call it in messages.

    Returns:
      How much ink there is, from 0 on paper to 1 where it covers a pixel; of the picture,
      of the sheet in it, or of either made smaller.

    Raises:
      UserError: Nothing is drawn, or it is static.
    """
    gray = _project(colours)
    require(
        min(gray.shape) not in _STATIC or _correlate(gray) >= _LEAST_CORRELATION,
        f'{name}: found pixels that have nothing to do with their neighbours; allowed: one '
        'digit',
    )
    drawing = _find_in_smooth_light(gray)
    for _ in range(_MOST_SHEETS):
        of_sheet = sheet.cut_out(colours, drawing.ink)
        if of_sheet is None:
            break
        colours, gray = of_sheet, _project(of_sheet)
        drawing = _find_in_smooth_light(gray)
    if min(gray.shape) >= _LEAST_SIDE and _may_be_shadow(drawing):
        few = _shrink(colours)
        in_shadow = _find_in_shadows(few)
        if _explains(in_shadow, _find_in_smooth_light(_project(few))):
            drawing = in_shadow
    nothing = (
        f'{name}: found nothing drawn; allowed: one digit, in another brightness or colour '
        'than what it is on'
    )
    require(drawing.separation >= _LEAST_SEPARATION, nothing)
    paper_level, ink_level = drawing.levels()
    require(abs(ink_level - paper_level) >= _LEAST_CONTRAST, nothing)
    return np.clip((drawing.values - paper_level) / (ink_level - paper_level), 0, 1)


def _shrink(colours: Colours) -> Colours:
    """Averages over blocks of pixels: windows as wide as shadows' take their time."""
    factor = max(1, max(colours.shape) // _MANY)
    height, width = (size // factor for size in colours.shape[:2])
    blocks = colours[: height * factor, : width * factor].reshape(
        height, factor, width, factor, 3
    )
    return blocks.mean(axis=(1, 3))


def _find_in_smooth_light(gray: Gray) -> _Drawing:
    gray = _smooth(gray)
    best = gray - np.median(gray)
    split = _split(best)
    for degree in (1, 2):
        evened = gray - light.fit_surface(gray, degree)
        other = _split(evened)
        if other.within < _GAIN * split.within:
            best, split = evened, other
    return _draw(best, split)


def _find_in_shadows(colours: Colours) -> _Drawing:
    evened = light.take_shadows(_smooth(colours.mean(axis=-1, dtype=np.float64)))
    return _draw(evened, _split(evened))


def _may_be_shadow(drawing: _Drawing) -> bool:
    return (
        drawing.separation < _CLEAR
        or _measure_run(drawing.ink) > 0
        or _measure_edge(drawing) > _SOFT
    )


def _explains(in_shadow: _Drawing, drawing: _Drawing) -> bool:
    """Tells whether a shadow's edge was taken for that of ink."""
    paper_level, ink_level = in_shadow.levels()
    is_drawn = (
        in_shadow.separation >= _LEAST_SEPARATION
        and abs(ink_level - paper_level) >= _LEAST_PART * paper_level
        and _measure_edge(in_shadow) <= _SOFT
    )
    if is_drawn and in_shadow.separation > drawing.separation + _CLEARER:
        return True
    shadow = drawing.ink & ~in_shadow.ink if is_drawn else drawing.ink
    wide = _WIDE * min(shadow.shape)
    if _measure_run(drawing.ink) < _LONG_RUN or sheet.measure_width(shadow) < wide:
        return False
    # Of a digit that fills the picture a bar along the margin is no shadow: the rest of it
    # ends at the margin too.
    return not is_drawn or _measure_run(in_shadow.ink) == 0


def _measure_edge(drawing: _Drawing) -> float:
    """Measures how far it is from paper to ink, as a part of the longer side."""
    edge = drawing.ink & ~scipy.ndimage.binary_erosion(drawing.ink, border_value=1)
    if not edge.any():
        return 1.0
    slope = float(np.median(np.hypot(*np.gradient(drawing.values))[edge]))
    paper_level, ink_level = drawing.levels()
    return abs(ink_level - paper_level) / max(slope, 1e-9) / max(edge.shape)


def _measure_run(ink: Solid) -> float:
    """Measures how far ink goes on along the margin, as a part of the shorter side."""
    margin = np.concatenate([ink[0], ink[1:, -1], ink[-1, -2::-1], ink[-2:0:-1, 0]])
    margin = np.roll(margin, -int(np.argmin(margin)))  # starts where there is none
    labels, _ = scipy.ndimage.label(margin)
    return float(np.bincount(labels)[1:].max(initial=0)) / min(ink.shape)


def _correlate(gray: Gray) -> float:
    """Correlates neighbours, in the direction in which they have less to do."""
    away = gray - gray.mean()
    if away.var() < 1e-12:
        return 1.0
    products = (away[1:] * away[:-1]).mean(), (away[:, 1:] * away[:, :-1]).mean()
    return float(min(products) / away.var())


def _smooth(gray: Gray) -> Gray:
    return scipy.ndimage.gaussian_filter(gray, max(gray.shape) / 400)


def _project(colours: Colours) -> Gray:
    pixels = colours.reshape(-1, 3)
    covariance = np.cov(pixels, rowvar=False)
    _, directions = np.linalg.eigh(covariance)
    return (pixels @ directions[:, -1]).reshape(colours.shape[:2])


def _draw(values: Gray, split: _Split) -> _Drawing:
    above = values > split.threshold
    ink = above if _weigh(above) < 0.5 else ~above
    return _Drawing(values, ink, split.separation)


def _split(values: Gray) -> _Split:
    """Finds Otsu's threshold, and how well it separates."""
    total = float(values.var())
    if total < 1e-12:
        return _Split(0.0, 0.0, 0.0)
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = below * above * difference**2
    # The middle of equally good ones, where the histogram has a gap.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    threshold = (edges[best[0] + 1] + edges[best[-1] + 1]) / 2
    explained = float(between.max()) / values.size**2
    return _Split(float(threshold), explained / total, total - explained)


def _weigh(side: Solid) -> float:
    """Tells what part of a picture and of its margin is on one side."""
    margin = np.concatenate([side[0], side[-1], side[:, 0], side[:, -1]])
    # A frame has all of the margin, and a digit that fills the picture half of that.
    return float(2 * side.mean() + margin.mean()) / 3
