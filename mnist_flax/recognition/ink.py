"""What is drawn in a picture: dark on light or light on dark, under uneven light."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage

from mnist_flax.common.errors import require
from mnist_flax.recognition import light, otsu, sheet
from mnist_flax.recognition.pictures import Colours, Gray, Mask

# Otsu's separation is 0.64 for a normal distribution and 0.75 for a uniform one, in which
# nothing is drawn, and 1 for two values. Small digits on rough paper have 0.7.
_LEAST_SEPARATION = 0.66

# Of brightness, which is 1.7 from black to white where colours are projected. Below, the
# rounding to 255 steps begins to show.
_LEAST_CONTRAST = 0.04

# A tilted or curved background must reduce the variance within ink and paper to this part,
# to be preferred to a simpler one.
_VARIANCE_LEFT = 0.5

# Full ink, as a percentile of the ink's pixels: those at the edges of strokes, many in a
# coarse picture, are not quite covered.
_FULL_INK = 75

# Inside each other: a box with a frame, on a form that lies on a table.
_MOST_SHEETS = 3

# Shadows are only looked for in pictures with so many pixels in each direction, in coarser
# ones none can be seen; and where a digit explains a smaller part of the variance.
_LEAST_SIDE_FOR_SHADOWS, _CLEAR_SEPARATION = 64, 0.82

# The picture is reduced for that: its longer side to so many pixels, or up to twice.
_REDUCED_SIDE = 250

# Of the picture's shorter side: strokes hardly ever run along the margin for as long, nor
# are frames or lines as thick.
_LONG_RUN, _THICK = 0.8, 0.15

# Of the picture's longer side: edges of strokes are sharper, those of light are softer.
_SOFT_EDGE = 0.1

# Without its shadows a picture must be clearer by this part of the variance.
_CLEARER = 0.08

# Contrast, as a part of the paper's brightness, after a removal of shadows, which amplifies
# noise.
_LEAST_CONTRAST_IN_SHADOWS = 0.15

# Correlation of neighbours, in pictures of these sides; larger ones of static have holes.
# It was up to 0.11 in 200 pictures of static, at least 0.33 in digits of MNIST and others.
_LEAST_CORRELATION, _STATIC_SIDES = 0.2, range(16, 100)


class _Drawing(NamedTuple):
    values: Gray  # brighter or darker where there is ink
    ink: Mask
    separation: float

    def levels(self) -> tuple[float, float]:
        """Returns the values of paper and of full ink."""
        ink, paper = self.values[self.ink], self.values[~self.ink]
        if not ink.size or not paper.size:
            return 0.0, 0.0
        is_brighter = ink.min() > paper.max()
        full = np.percentile(ink, _FULL_INK if is_brighter else 100 - _FULL_INK)
        return float(np.median(paper)), float(full)


def find_ink(colours: Colours, name: str) -> Gray:
    """Finds what is drawn, in any colour on any other.

    The colours are projected on the line along which they differ most, smooth light is
    removed, and Otsu's threshold (1979, "A threshold selection method from gray-level
    histograms") separates ink and paper. The ink is the side that has less of the picture
    and of its margin. If it is a sheet of paper or a box, the same is done within it; if
    it may be the edge of a shadow, shadows are removed.

    Args:
      colours: The picture, from 0 to 1.
      name: What to call it in messages.

    Returns:
      How much ink there is, from 0 on paper to 1 where it covers a pixel: in the picture,
      in the sheet that it shows, or in either at a smaller size.

    Raises:
      UserError: Nothing is drawn, or the picture is static.
    """
    gray = _project(colours)
    require(
        min(gray.shape) not in _STATIC_SIDES or _correlate(gray) >= _LEAST_CORRELATION,
        f'{name}: it is static, in which neighbouring pixels are not related; it should '
        'show one digit',
    )
    drawing = _find_in_smooth_light(gray)
    for _ in range(_MOST_SHEETS):
        cut = sheet.cut_out(colours, drawing.ink)
        if cut is None:
            break
        colours, gray = cut, _project(cut)
        drawing = _find_in_smooth_light(gray)
    if min(gray.shape) >= _LEAST_SIDE_FOR_SHADOWS and _may_be_shadow(drawing):
        # Windows as wide as those for shadows take time.
        factor = max(1, max(colours.shape) // _REDUCED_SIDE)
        reduced = light.average(colours, factor)
        without_shadows = _find_in_shadows(reduced)
        if _is_shadow(_find_in_smooth_light(_project(reduced)), without_shadows):
            drawing = without_shadows
    paper_level, ink_level = drawing.levels()
    require(
        drawing.separation >= _LEAST_SEPARATION
        and abs(ink_level - paper_level) >= _LEAST_CONTRAST,
        f'{name}: nothing is drawn in it; it should show one digit, in another brightness '
        'or colour than its background',
    )
    return np.clip((drawing.values - paper_level) / (ink_level - paper_level), 0, 1)


def _project(colours: Colours) -> Gray:
    pixels = colours.reshape(-1, 3)
    _, directions = np.linalg.eigh(np.cov(pixels, rowvar=False))
    return (pixels @ directions[:, -1]).reshape(colours.shape[:2])


def _correlate(gray: Gray) -> float:
    """Correlates neighbours, in the direction in which they are less related."""
    centred = gray - gray.mean()
    if centred.var() < 1e-12:
        return 1.0
    down = (centred[1:] * centred[:-1]).mean()
    right = (centred[:, 1:] * centred[:, :-1]).mean()
    return float(min(down, right) / centred.var())


def _find_in_smooth_light(gray: Gray) -> _Drawing:
    gray = _smooth(gray)
    best = gray - np.median(gray)
    threshold = otsu.find_threshold(best)
    for degree in (1, 2):
        evened = gray - light.fit_surface(gray, degree)
        other = otsu.find_threshold(evened)
        if other.within < _VARIANCE_LEFT * threshold.within:
            best, threshold = evened, other
    return _separate(best, threshold)


def _find_in_shadows(colours: Colours) -> _Drawing:
    evened = light.remove_shadows(_smooth(colours.mean(axis=-1, dtype=np.float64)))
    return _separate(evened, otsu.find_threshold(evened))


def _smooth(gray: Gray) -> Gray:
    return scipy.ndimage.gaussian_filter(gray, max(gray.shape) / 400)


def _separate(values: Gray, threshold: otsu.Threshold) -> _Drawing:
    above = values > threshold.value
    margin = np.concatenate([above[0], above[-1], above[:, 0], above[:, -1]])
    # A frame has all of the margin, and a digit that fills the picture half of that.
    is_ink = float(2 * above.mean() + margin.mean()) / 3 < 0.5
    return _Drawing(values, above if is_ink else ~above, threshold.separation)


def _may_be_shadow(drawing: _Drawing) -> bool:
    return (
        drawing.separation < _CLEAR_SEPARATION
        or _measure_run(drawing.ink) > 0
        or _measure_edge(drawing) > _SOFT_EDGE
    )


def _is_shadow(drawing: _Drawing, without_shadows: _Drawing) -> bool:
    """Tells whether the edge of a shadow was taken for that of ink."""
    paper_level, ink_level = without_shadows.levels()
    is_drawn = (
        without_shadows.separation >= _LEAST_SEPARATION
        and abs(ink_level - paper_level) >= _LEAST_CONTRAST_IN_SHADOWS * paper_level
        and _measure_edge(without_shadows) <= _SOFT_EDGE
    )
    if is_drawn and without_shadows.separation > drawing.separation + _CLEARER:
        return True
    shadow = drawing.ink & ~without_shadows.ink if is_drawn else drawing.ink
    is_thick = sheet.measure_width(shadow) >= _THICK * min(shadow.shape)
    if _measure_run(drawing.ink) < _LONG_RUN or not is_thick:
        return False
    # The bar of a digit that fills the picture runs along the margin and is no shadow: the
    # rest of the digit ends at the margin too.
    return not is_drawn or _measure_run(without_shadows.ink) == 0


def _measure_edge(drawing: _Drawing) -> float:
    """Measures the distance from paper to full ink, as a part of the longer side."""
    edge = drawing.ink & ~scipy.ndimage.binary_erosion(drawing.ink, border_value=1)
    if not edge.any():
        return 1.0
    slope = float(np.median(np.hypot(*np.gradient(drawing.values))[edge]))
    paper_level, ink_level = drawing.levels()
    return abs(ink_level - paper_level) / max(slope, 1e-9) / max(edge.shape)


def _measure_run(ink: Mask) -> float:
    """Measures the longest run of ink along the margin, as a part of the shorter side."""
    margin = np.concatenate([ink[0], ink[1:, -1], ink[-1, -2::-1], ink[-2:0:-1, 0]])
    margin = np.roll(margin, -int(np.argmin(margin)))  # starts where there is none
    labels, _ = scipy.ndimage.label(margin)
    return float(np.bincount(labels)[1:].max(initial=0)) / min(ink.shape)
