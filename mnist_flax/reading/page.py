"""What is on a page: digits in rows, and how many other things among them."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mnist_flax.common.errors import require
from mnist_flax.reading import leftovers, marks, parts, rows, rules, segments
from mnist_flax.reading.found import Found
from mnist_flax.reading.segments import Candidate
from mnist_flax.recognition.pictures import Colours

# Of several things in a picture each must be so surely a digit, and the one that it is
# taken for; of a single one only the former counts. In docs/handwriting.md is how this was
# chosen.
LEAST_SURE = 0.5

# A part that would be more digits, side by side, is a wave or a word.
_MOST_TOUCHING = 3

# More things in one picture are a texture.
_MOST_THINGS = 400


class Page(NamedTuple):
    """What is on a page."""

    rows: list[list[Found]]
    num_others: int  # things that may be digits and cannot be read, or specks alone
    doubt: str = ''  # why digits may be missing or wrong; '' if nothing is known
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
    small = segments.propose_small(of_page, ink)
    number = sum(map(len, proposed))
    require(number > 0, f'{name}: nothing is drawn in it; it should show digits')
    # All at once: a program is compiled for each number of images.
    all_proposed = [*itertools.chain(*proposed), *small]
    is_digit, which = judge([of.image for of in all_proposed])
    judged = [
        Found(of.image, of.box, of.area, of.strength, of.certainty * digit, probabilities)
        for of, digit, probabilities in zip(
            all_proposed, is_digit.tolist(), which, strict=True
        )
    ]
    remaining = iter(judged)
    found: list[Found] = []
    unsure: list[Found] = []
    for row in proposed:
        of_row = [*itertools.islice(remaining, len(row))]
        taken, not_taken = _choose(row, of_row, is_alone=number == 1)
        found += taken
        unsure += not_taken
    # If all is of one part, it is more likely a letter than digits that touch.
    if len(pieces) == 1 and len(found) > 1:
        found, unsure = [], found + unsure
    left = leftovers.find(found, unsure, [*remaining], of_page, written, ink)
    order = rows.arrange([of.box for of in left.digits])
    in_rows = [[left.digits[i] for i in row] for row in order]
    return Page(in_rows, left.num_others, left.doubt, left.is_sign)


def _choose(
    row: Sequence[Candidate], judged: Sequence[Found], is_alone: bool
) -> tuple[list[Found], list[Found]]:
    """Chooses the candidates that make up a row: those that are digits, and the others."""
    chosen = segments.choose(row, [of.confidence for of in judged])
    touching = Counter(row[i].cut_from for i in chosen if row[i].cut_from)
    sure: list[Found] = []
    unsure: list[Found] = []
    for i in chosen:
        of = judged[i]
        # A single digit is answered even if it is not sure which one it is.
        is_sure = (of.is_digit if is_alone else of.confidence) >= LEAST_SURE
        is_word = touching[row[i].cut_from] > _MOST_TOUCHING
        (sure if is_sure and not is_word else unsure).append(of)
    return sure, unsure
