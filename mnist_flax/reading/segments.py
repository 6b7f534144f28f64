"""From parts to digits: which parts belong together, and where digits touch."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from mnist_flax.reading import parts as parts_of
from mnist_flax.reading.boxes import Box
from mnist_flax.reading.parts import Parts
from mnist_flax.recognition.framing import frame_digit
from mnist_flax.recognition.pictures import Gray

# The bar of a digit has at most this part of the usual height, and is no farther above the
# rest of it, in usual heights.
_BAR, _NEAR = 0.6, 0.2

# Parts of one digit, side by side, are no farther apart, in usual heights.
_MAY_BE_NEAR = 0.22

# A line so close below a digit, in usual heights, may be a part of it, as in a two.
_TOUCHING = 0.08

# In usual heights: the bar of a fraction is no farther from what is above and below it.
_FRACTION = 0.35

# Pieces of one digit, at most, and its width and height, in usual heights.
_MOST_PIECES, _WIDEST, _TALLEST = 4, 1.3, 1.5

# What is wider than this part of its height may be several digits.
_WIDE = 0.75

# It is cut at so many places, where it has ink in at most this part of its height, and not
# nearer to each other than this part of its height.
_MOST_CUTS, _THIN, _NARROWEST = 5, 0.4, 0.2

# Of what has fewer pixels nothing can be said.
_LEAST_AREA = 12

# How certain it is that a digit that touches another is cut off at the right place.
_CUT = 0.6

# Probability of what networks take for impossible.
_FLOOR = 1e-3


class Piece(NamedTuple):
    """Parts, or some columns of one part, that are of one digit in any case."""

    labels: tuple[int, ...]
    box: Box
    area: int  # pixels with ink
    is_cut: bool  # from a part that goes on beside it
    lines: tuple[int, ...] = ()  # those of the parts that may be a line under it

    def leave_out(self, labels: set[int], parts: Parts) -> 'Piece':
        """Returns the piece without some of its parts."""
        kept = tuple(label for label in self.labels if label not in labels)
        if not kept or kept == self.labels:
            return self
        box = functools.reduce(Box.join, [parts.boxes[label] for label in kept])
        window = parts.labels[box.top : box.bottom, box.left : box.right]
        area = int(np.isin(window, kept).sum())
        return Piece(kept, box, area, False)


class Candidate(NamedTuple):
    """Neighbouring pieces that may be one digit."""

    first: int  # number of the first piece in its row
    last: int  # likewise
    image: UInt8[np.ndarray, '28 28 1']
    box: Box
    area: int  # pixels with ink
    strength: float  # how much ink there is where it covers them
    cut_from: int  # label of a part that goes on beside it; 0 if there is none

    @property
    def certainty(self) -> float:
        """How certain it is that no digit was cut through."""
        return _CUT if self.cut_from else 1.0


def join_bars(parts: Parts) -> list[Piece]:
    """Joins parts one of which is above the other, such as a five and its bar."""
    areas = np.bincount(parts.labels.ravel())
    tall = [of for of in parts.boxes.values() if of.height >= _BAR * parts.height]
    groups: list[Piece] = []
    alone: list[Piece] = []
    for label in sorted(parts.boxes, key=lambda of: parts.boxes[of].left):
        piece = Piece((label,), parts.boxes[label], int(areas[label]), False)
        if _is_fraction_bar(piece.box, tall, parts.height):
            alone.append(piece)
            continue
        while near := next(
            (of for of in groups if _is_bar(of.box, piece.box, parts)), None
        ):
            groups.remove(near)
            lower = max((near, piece), key=lambda of: of.box.top)
            lines = near.lines + piece.lines
            is_one = len(lower.labels) == 1
            if is_one and _is_line_below(near.box, piece.box, parts):
                lines += lower.labels
            labels, box = near.labels + piece.labels, near.box.join(piece.box)
            piece = Piece(labels, box, near.area + piece.area, False, lines)
        groups.append(piece)
    return groups + alone


def _is_bar(one: Box, other: Box, parts: Parts) -> bool:
    joined = one.join(other)
    if joined.height > _TALLEST * parts.height or joined.width > _WIDEST * parts.height:
        return False
    upper, lower = sorted((one, other), key=lambda of: of.top)
    shared = min(one.right, other.right) - max(one.left, other.left)
    # Below a digit it is a line under it.
    is_low = upper.height < _BAR * parts.height
    near = _NEAR if is_low else _TOUCHING if lower.is_dash else 0
    return (
        shared >= 0.5 * min(one.width, other.width)
        and lower.top - upper.bottom <= near * parts.height
    )


def _is_fraction_bar(box: Box, tall: Sequence[Box], height: float) -> bool:
    """Tells whether a level line is about as near to what is above it as to what is below.

    The bar of a five is nearer to what is below.
    """
    if not box.is_dash:
        return False
    over = [of for of in tall if of.left < box.right and box.left < of.right]
    above = [box.top - of.bottom for of in over if of.bottom <= box.top]
    below = [of.top - box.bottom for of in over if of.top >= box.bottom]
    if not above or not below or max(min(above), min(below)) > _FRACTION * height:
        return False
    return min(above) <= 2 * min(below) + 0.05 * height


def _is_line_below(one: Box, other: Box, parts: Parts) -> bool:
    upper, lower = sorted((one, other), key=lambda of: of.top)
    is_tall = upper.height >= _BAR * parts.height
    return is_tall and lower.top >= upper.bottom and lower.is_dash


def propose(row: Sequence[Piece], parts: Parts, ink: Gray) -> list[Candidate]:
    """Proposes what in a row may be a digit.

    Args:
      row: Its pieces, from left to right.
      parts: Of the picture.
      ink: How much ink there is.
    """
    pieces = [cut for piece in row for cut in _cut(piece, parts)]
    candidates = []
    for first in range(len(pieces)):
        box = pieces[first].box
        for last in range(first, len(pieces)):
            following = pieces[last]
            # A part that is cut is also proposed as a whole.
            is_one = following.labels == pieces[first].labels
            if last - first >= _MOST_PIECES and not is_one:
                break
            is_same = last > first and following.labels == pieces[last - 1].labels
            if last > first and not is_same:
                apart = following.box.left - box.right
                wide = following.box.right - box.left
                if apart > _MAY_BE_NEAR * parts.height or wide > _WIDEST * parts.height:
                    break
            box = box.join(following.box)
            chosen = pieces[first : last + 1]
            candidates += _cut_out(chosen, first, box, parts, ink)
            if lines := {label for of in chosen for label in of.lines}:
                without = [of.leave_out(lines, parts) for of in chosen]
                box_without = functools.reduce(Box.join, [of.box for of in without])
                candidates += _cut_out(without, first, box_without, parts, ink)
    return candidates


def propose_small(parts: Parts, ink: Gray) -> list[Candidate]:
    """Proposes what is too small for the usual height, each by itself."""
    small = parts._replace(boxes=parts.small)
    areas = np.bincount(parts.labels.ravel(), minlength=1 + max(small.boxes, default=0))
    pieces = [
        Piece((label,), box, int(areas[label]), False) for label, box in small.boxes.items()
    ]
    return [of for piece in pieces for of in _cut_out([piece], 0, piece.box, small, ink)]


def _cut(piece: Piece, parts: Parts) -> list[Piece]:
    """Cuts a part that is wide where it has little ink."""
    box = piece.box
    is_wide = box.width > _WIDE * max(box.height, 0.7 * parts.height)
    if len(piece.labels) > 1 or not is_wide or box.height < 0.4 * parts.height:
        return [piece]
    window = parts.labels[box.top : box.bottom, box.left : box.right] == piece.labels[0]
    amounts = window.sum(axis=0)
    narrowest = max(3, round(_NARROWEST * box.height))
    places = [0, box.width]
    for place in np.argsort(amounts, kind='stable').tolist():
        if len(places) == _MOST_CUTS + 2 or amounts[place] > _THIN * box.height:
            break
        if min(abs(place - of) for of in places) >= narrowest:
            places.append(place)
    pieces = []
    places.sort()
    for left, right in itertools.pairwise(places):
        rows = np.flatnonzero(window[:, left:right].any(axis=1))
        if rows.size:
            top, bottom = box.top + int(rows[0]), box.top + int(rows[-1]) + 1
            own = Box(box.left + left, top, box.left + right, bottom)
            area = int(amounts[left:right].sum())
            pieces.append(Piece(piece.labels, own, area, len(places) > 2))
    return pieces


def _cut_out(
    pieces: Sequence[Piece], first: int, box: Box, parts: Parts, ink: Gray
) -> list[Candidate]:
    """Makes a candidate of pieces, if they are more than a speck."""
    labels = sorted({label for piece in pieces for label in piece.labels})
    is_cut = any(piece.is_cut for piece in pieces)
    sides = (box.left, box.right) if is_cut else None
    digit, strength = parts_of.cut_out(ink, parts, labels, sides)
    if (digit > 0.5).sum() < _LEAST_AREA:
        return []
    label = pieces[0].labels[0]
    cut_from = label if is_cut and box.width < parts.boxes[label].width else 0
    area = sum(piece.area for piece in pieces)
    last = first + len(pieces) - 1
    return [Candidate(first, last, frame_digit(digit), box, area, strength, cut_from)]


def choose(candidates: Sequence[Candidate], probabilities: Sequence[float]) -> list[int]:
    """Chooses candidates that make up a row.

    Args:
      candidates: Of the row.
      probabilities: Of each, that it is a digit, and the one that it looks like most.

    Returns:
      The numbers of those, from left to right, that are all digits with the highest
      probability. What no candidate has is left out.
    """
    number = 1 + max((of.last for of in candidates), default=-1)
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end in range(number):
        choices = [
            (
                best[of.first][0] + float(np.log(max(probabilities[i], _FLOOR))),
                [*best[of.first][1], i],
            )
            for i, of in enumerate(candidates)
            if of.last == end
        ]
        best.append(max(choices, key=lambda of: of[0]) if choices else best[end])
    return best[-1][1]
