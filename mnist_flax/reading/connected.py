"""Connected marks: strokes with gaps closed, without grain and what is left of lines."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Int

from mnist_flax.reading.boxes import Box, to_box, usual_size
from mnist_flax.reading.rules import Rules
from mnist_flax.recognition.pictures import Mask

# As parts of the usual size: dots and grain, and the gaps of a stroke that is broken.
_DOT, _GAP = 0.12, 0.06

# Of what has this part of the usual height, a level line that is no farther below, in usual
# sizes, may be a line under it.
_ABOVE, _BELOW = 0.5, 0.15

# With more tall things it is no page.
_MOST_TALL = 1000

# Something is left of a printed line if as much of it lies on lines, and it is at most so
# many times as thick.
_ON_LINES, _AS_THICK = 0.6, 1.3

Labels = Int[np.ndarray, 'height width']


def drop_remains(marks: Mask, lines: Rules) -> Mask:
    """Drops what is left of printed lines: it is on one, and as thin.

    Args:
      marks: Where there are marks.
      lines: The printed lines.
    """
    labels, number = scipy.ndimage.label(marks, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    on_lines = np.bincount(labels[lines.bands], minlength=number + 1)
    boxes = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
    sizes = np.array([0, *(box.size for box in boxes)])
    is_thin = areas <= _AS_THICK * (lines.thick + 1) * sizes
    return marks & ~((on_lines > _ON_LINES * areas) & is_thin)[labels]


def label(marks: Mask) -> tuple[Labels, int]:
    """Labels connected marks; gaps as narrow as a thin stroke connect, too.

    A line under something stays by itself.

    Args:
      marks: Where there are marks.

    Returns:
      The numbers of what each pixel is of, 0 where there are no marks, or grain; and the
      highest number.
    """
    labels, number = scipy.ndimage.label(marks, np.ones((3, 3)))
    if not number:
        return labels, number
    boxes = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
    sizes = np.array([box.size for box in boxes])
    usual = usual_size(sizes.tolist())
    large = np.append(False, sizes >= _DOT * usual)[labels]
    inside = scipy.ndimage.distance_transform_cdt(np.pad(large, 1))[1:-1, 1:-1]
    # In a straight stroke the mean distance to the edge is a quarter of the width.
    stroke = 4 * (float(inside[large].mean()) - 0.5)
    reach = round(min(0.75 * stroke, _GAP * usual / 2))
    if reach >= 1:
        under = np.append(False, _find_lines_under(boxes, usual))
        joined = large & ~under[labels]
        wide = scipy.ndimage.binary_dilation(joined, np.ones((3, 3)), iterations=reach)
        in_joined, number = scipy.ndimage.label(wide, np.ones((3, 3)))
        numbers = np.cumsum(under) * under
        labels = np.where(joined, in_joined, numbers[labels] + number * under[labels])
        number += int(under.sum())
    return np.where(large, labels, 0), number


def _find_lines_under(boxes: Sequence[Box], usual: float) -> Bool[np.ndarray, 'boxes']:
    """Tells which parts may be lines under other ones."""
    is_under = np.zeros(len(boxes), bool)
    tall = np.array([box for box in boxes if box.height >= _ABOVE * usual]).reshape(-1, 4)
    if len(tall) > _MOST_TALL:
        return is_under
    for i, box in enumerate(boxes):
        if box.is_dash and box.width >= _DOT * usual:
            left, _, right, bottom = tall.T
            gaps = box.top - bottom
            shared = np.minimum(box.right, right) - np.maximum(box.left, left)
            narrower = np.minimum(box.width, right - left)
            is_near = (gaps >= 0) & (gaps <= _BELOW * usual) & (shared >= narrower / 2)
            is_under[i] = bool(is_near.any())
    return is_under
