"""What is left beside the digits of a page: other things, and reasons for doubt."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from mnist_flax.reading import parts
from mnist_flax.reading.boxes import Box, to_box
from mnist_flax.reading.found import Found
from mnist_flax.reading.parts import Parts
from mnist_flax.recognition.pictures import Gray, Mask

# Of the usual height: what is shorter, and no digit, is a comma, a dot or a dash. A digit
# that is shorter than the second part of it stands beside the row, as an exponent does.
_SHORT, _SHORTEST = 0.55, 0.5

# What is left out beside digits has at most this part of their ink.
_DROPPED = 0.3

# Fewer digits, or ones alone, must be taller than this part of the picture's shorter side.
_FEW, _TINY = 3, 0.04

# Of the strongest ink: a one in less may be a printed line; and of a digit's ink: what has
# less was not drawn with its pen.
_FAINT, _AS_STRONG = 0.5, 0.6

# Digits that look like i, ! and ? without their dots.
_WITH_DOT = (1, 2, 7)

# So surely something small is a digit.
_SURE = 0.9

# In heights of the digit left of it: a point, how far away it may be if no other digit
# follows, and how far below.
_POINT, _FAR, _BELOW = (0.06, 0.3), 0.6, 0.15

# In usual heights: how far a fraction's bar is from what is above and below it.
_BAR_NEAR = 0.6

_LEFT_OUT = 'something beside the digits was left out'
_AT_EDGE = 'digits at the edge of the picture may be cut off'


class Leftovers(NamedTuple):
    """The digits, and what else there is."""

    digits: list[Found]
    num_others: int  # things that may be digits and cannot be read, or specks alone
    doubt: str  # why digits may be missing or wrong; '' if nothing is known
    is_sign: bool  # whether a dot makes the only digit another sign, such as !


def find(
    found: Sequence[Found],
    unsure: Sequence[Found],
    small: Sequence[Found],
    of_page: Parts,
    written: Mask,
    ink: Gray,
) -> Leftovers:
    """Finds what is no digit among digits, or was not seen as one.

    Args:
      found: What are digits by themselves.
      unsure: Things of which this is not sure.
      small: Things that are too small for the usual height.
      of_page: All parts.
      written: Where there are marks.
      ink: How much ink there is.
    """
    digits, num_specks, num_others = _sort(found)
    usual = _to_usual_height(digits, of_page)
    tall = [of for of in unsure if of.box.height >= _SHORT * usual]
    short = [
        of for of in unsure if of.box.height < _SHORT * usual and _is_beside(of.box, digits)
    ]
    bars = [of for of in unsure if _is_between(of.box, digits, usual)]
    num_others += len(tall)
    # Of a digit in pieces, each is short.
    num_others += sum(of.area for of in short) > _DROPPED * sum(of.area for of in digits)
    # What is much taller makes digits seem small.
    num_others += sum(of.confidence >= _SURE and of.digit != 1 for of in small)
    num_left_out = num_specks + len(short) + len(bars) + len(of_page.in_corners)
    # Beside a single digit it is its neighbour, which was meant to be cut off.
    if len(digits) > 1:
        num_others += len(of_page.cut_off)
    else:
        num_left_out += len(of_page.cut_off)
    num_others += _are_specks(digits, min(ink.shape))
    is_sign = False
    if digits:
        strength = float(np.median([of.strength for of in digits]))
        strong = written & (ink > _AS_STRONG * strength)
        others = ~np.isin(of_page.labels, [*of_page.boxes])
        num_left_out += _count_points(digits, strong & others)
        if len(digits) == 1 and digits[0].digit in _WITH_DOT:
            is_sign = parts.has_dot(strong, digits[0].box)
    doubts = [_LEFT_OUT] * (num_left_out > 0)
    doubts += [_AT_EDGE] * _are_cut_off(digits, len(ink))
    return Leftovers(digits, int(num_others) + is_sign, '; '.join(doubts), is_sign)


def _to_usual_height(digits: Sequence[Found], of_page: Parts) -> float:
    """Returns that of digits, if it is less: the parts' counts what is much larger."""
    heights = [of.box.height for of in digits]
    return min(of_page.height, float(np.median(heights))) if heights else of_page.height


def _sort(found: Sequence[Found]) -> tuple[list[Found], int, int]:
    """Tells digits from specks, which look like ones, and from what is not sure to be read.

    Returns:
      The digits, how many specks there are, and how many others: digits much smaller than
      the rest, such as exponents, and ones much fainter, such as printed lines.
    """
    usual = float(np.median([of.box.height for of in found])) if found else 0.0
    strongest = max((of.strength for of in found), default=0.0)
    digits, num_specks, num_others = [], 0, 0
    for of in found:
        is_one = of.digit == 1
        if of.box.height < _SHORTEST * usual:
            num_specks += is_one
            num_others += not is_one
        elif is_one and of.strength < _FAINT * strongest:
            num_others += 1
        else:
            digits.append(of)
    return digits, num_specks, num_others


def _is_beside(box: Box, digits: Sequence[Found]) -> bool:
    middle = (box.top + box.bottom) / 2
    return any(of.box.top < middle < of.box.bottom for of in digits)


def _is_between(box: Box, digits: Sequence[Found], usual: float) -> bool:
    """Tells whether it is a level line with digits above and below, as in a fraction."""
    over = [of.box for of in digits if of.box.left < box.right and box.left < of.box.right]
    near = _BAR_NEAR * usual
    is_above = any(0 <= box.top - of.bottom <= near for of in over)
    return is_above and any(0 <= of.top - box.bottom <= near for of in over) and box.is_dash


def _are_specks(digits: Sequence[Found], side: int) -> bool:
    """Tells whether what is found may be dirt, which looks like ones."""
    ones = all(of.digit == 1 for of in digits)
    tallest = max((of.box.height for of in digits), default=0)
    return (ones or len(digits) < _FEW) and tallest < _TINY * side


def _are_cut_off(digits: Sequence[Found], height: int) -> bool:
    """Tells whether digits reach the top or bottom: all of them, or the picture is cut."""
    tops = sum(of.box.top <= 1 for of in digits)
    bottoms = sum(of.box.bottom >= height - 1 for of in digits)
    return max(tops, bottoms) >= 2 and min(tops, bottoms) == 0


def _count_points(digits: Sequence[Found], marks: Mask) -> int:
    """Counts points and commas between digits, or right of one."""
    number = 0
    for of in digits:
        height = of.box.height
        least, most = (height * size for size in _POINT)
        following = [
            other.box.left
            for other in digits
            if other.box.left >= of.box.right
            and other.box.top < of.box.bottom
            and of.box.top < other.box.bottom
        ]
        right = min(following, default=of.box.right + round(_FAR * height))
        top = (of.box.top + of.box.bottom) // 2
        window = marks[top : of.box.bottom + round(_BELOW * height), of.box.right : right]
        if not window.any():
            continue
        labels, _ = scipy.ndimage.label(window, np.ones((3, 3)))
        points = [to_box(sides) for sides in scipy.ndimage.find_objects(labels)]
        number += any(
            least <= point.size <= most and point.top > 0 and point.right < window.shape[1]
            for point in points
        )
    return number
