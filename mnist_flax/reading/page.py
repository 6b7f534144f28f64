"""What is on a page: digits in rows, and how many other things among them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mnist_flax.common.errors import require
from mnist_flax.reading import marks, parts, rows, rules, segments
from mnist_flax.reading.boxes import Box
from mnist_flax.reading.parts import Parts
from mnist_flax.recognition.pictures import Colours

# Of several things in a picture each must be so surely a digit, and the one that it is
# taken for; of a single one only the former counts. In docs/handwriting.md is how these
# were chosen.
_LEAST_SURE, LEAST_SURE_ALONE = 0.5, 0.35

# Digits that look like i, ! and ? without their dots.
_WITH_DOT = (1, 2, 7)

# Of a digit's ink: what has less was not drawn with its pen.
_AS_STRONG = 0.6

# A part that would be more digits, side by side, is a wave or a word.
_MOST_TOUCHING = 3

# Of the usual height: what is shorter, and no digit, is a comma, a dot or a dash; and what
# is shorter, and a digit, is no part of the row.
_SHORT, _SHORTEST = 0.55, 0.5

# What is dropped beside digits has at most this part of their ink.
_DROPPED = 0.3

# Fewer digits, or ones alone, must be taller than this part of the picture's shorter side.
_FEW, _TINY = 3, 0.04

# Of the strongest ink: a one in less may be a printed line.
_FAINT = 0.5

# More things in one picture are a texture.
_MOST_THINGS = 400


class Found(NamedTuple):
    """A digit on a page."""

    image: UInt8[np.ndarray, '28 28 1']  # in MNIST's format
    box: Box
    area: int  # pixels with ink
    strength: float  # as in `segments.Candidate`
    is_digit: float  # the probability of that
    probabilities: Float[np.ndarray, 'classes']  # of each digit, if it is one

    @property
    def confidence(self) -> float:
        """The probability that it is a digit, and the most probable one."""
        return self.is_digit * float(self.probabilities.max())


class Page(NamedTuple):
    """What is on a page."""

    rows: list[list[Found]]
    num_others: int  # things that may be digits and cannot be read, or specks alone
    num_left_out: int  # commas, dots, dashes and specks among the digits
    is_sign: bool = False  # whether a dot makes the only digit another sign, such as !

    @property
    def confidence(self) -> float:
        """Of the digit that is the least sure; 0 if there are none, or other things."""
        sure = [of.confidence for row in self.rows for of in row]
        return 0.0 if self.num_others else min(sure, default=0.0)


# Gets images in MNIST's format; says of each how probably it is a digit, and which.
Judge = Callable[
    [Sequence[UInt8[np.ndarray, '28 28 1']]],
    tuple[Float[np.ndarray, 'images'], Float[np.ndarray, 'images classes']],
]


def read(colours: Colours, are_dark: bool, name: str, judge: Judge) -> Page:
    """Reads a page.

    Args:
      colours: The page, from 0 to 1.
      are_dark: Whether digits are darker than the paper, not brighter.
      name: What to call it in messages.
      judge: Says what images are.

    Raises:
      UserError: Nothing is drawn, or too many things are.
    """
    ink, threshold = marks.find(colours, are_dark)
    lines = rules.find(ink, threshold)
    written = (ink > threshold) & ~lines.marks
    of_page = parts.find(written, lines)
    require(
        len(of_page.boxes) <= _MOST_THINGS,
        f'{name}: more than {_MOST_THINGS} things are drawn in it; it should show digits',
    )
    pieces = segments.join_bars(of_page)
    proposed = [
        segments.propose([pieces[i] for i in row], of_page, ink)
        for row in rows.arrange([piece.box for piece in pieces])
    ]
    candidates = [candidate for row in proposed for candidate in row]
    require(bool(candidates), f'{name}: nothing is drawn in it; it should show digits')
    # All at once: a program is compiled for each number of images.
    is_digit, probabilities = judge([of.image for of in candidates])
    judged = iter(zip(is_digit.tolist(), probabilities, strict=True))
    found: list[Found] = []
    unsure: list[Found] = []
    for row in proposed:
        likely = [
            Found(of.image, of.box, of.area, of.strength, of.certainty * digit, which)
            for of, (digit, which) in zip(row, judged, strict=False)
        ]
        chosen = segments.choose(row, [of.confidence for of in likely])
        touching = Counter(row[i].cut_from for i in chosen if row[i].cut_from)
        taken = [likely[i] for i in chosen]
        # A single digit is answered even if it is not sure which one it is.
        sure = [
            of.is_digit >= LEAST_SURE_ALONE
            if len(candidates) == 1
            else of.confidence >= _LEAST_SURE
            and touching[row[i].cut_from] <= _MOST_TOUCHING
            for i, of in zip(chosen, taken, strict=True)
        ]
        found += [of for of, is_sure in zip(taken, sure, strict=True) if is_sure]
        unsure += [of for of, is_sure in zip(taken, sure, strict=True) if not is_sure]
    # If all is of one part, it is more likely a letter than digits that touch.
    if len(pieces) == 1 and len(found) > 1:
        found, unsure = [], found + unsure
    found, specks, others = _sort(found)
    short, others_beside = _count_others(found, unsure, of_page)
    order = rows.arrange([of.box for of in found])
    in_rows = [[found[i] for i in row] for row in order]
    others += others_beside + _are_specks(found, min(colours.shape[:2]))
    has_dot = False
    if len(found) == 1 and int(found[0].probabilities.argmax()) in _WITH_DOT:
        strong = written & (ink > _AS_STRONG * found[0].strength)
        has_dot = parts.has_dot(strong, found[0].box)
    return Page(in_rows, others + has_dot, specks + short, has_dot)


def _sort(found: list[Found]) -> tuple[list[Found], int, int]:
    """Tells digits from specks, which look like ones, and from what is not sure to be read.

    Returns:
      The digits, how many specks there are, and how many others: digits much smaller than
      the rest, such as exponents, and ones much fainter, such as printed lines.
    """
    usual = float(np.median([of.box.height for of in found])) if found else 0.0
    strongest = max((of.strength for of in found), default=0.0)
    digits, num_specks, num_others = [], 0, 0
    for of in found:
        is_one = int(of.probabilities.argmax()) == 1
        if of.box.height < _SHORTEST * usual:
            num_specks += is_one
            num_others += not is_one
        elif is_one and of.strength < _FAINT * strongest:
            num_others += 1
        else:
            digits.append(of)
    return digits, num_specks, num_others


def _count_others(
    found: list[Found], unsure: list[Found], of_page: Parts
) -> tuple[int, int]:
    """Counts what stands among digits and is not read.

    Returns:
      How many commas, dots, dashes and specks there are, which are left out; and how many
      things that may be digits.
    """
    # What is much larger than a digit makes the usual height of parts too large.
    usual = of_page.height
    if found:
        usual = min(usual, float(np.median([of.box.height for of in found])))
    tall = [of for of in unsure if of.box.height >= _SHORT * usual]

    def is_beside(box: Box) -> bool:
        middle = (box.top + box.bottom) / 2
        return any(of.box.top < middle < of.box.bottom for of in found)

    short = [of for of in unsure if of.box.height < _SHORT * usual and is_beside(of.box)]
    # Of a digit in pieces, each is short.
    in_pieces = sum(of.area for of in short) > _DROPPED * sum(of.area for of in found)
    # Beside a single digit it is its neighbour, which was meant to be cut off.
    cut_off = of_page.cut_off if len(found) > 1 else []
    return len(short), len(tall) + len(cut_off) + in_pieces


def _are_specks(found: list[Found], side: int) -> bool:
    """Tells whether what is found may be dirt, which looks like ones."""
    ones = all(int(of.probabilities.argmax()) == 1 for of in found)
    tallest = max((of.box.height for of in found), default=0)
    return (ones or len(found) < _FEW) and tallest < _TINY * side
