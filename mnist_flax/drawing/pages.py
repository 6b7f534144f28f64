"""Drawn photographs of paper: rows of digits, single digits, or nothing that is a digit."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from mnist_flax.drawing import hands, others, papers
from mnist_flax.drawing.curves import Stroke, arc, line

# What may be drawn around each digit, or below them all.
_AROUND = ('ringed', 'boxed', 'underlined')

PAPERS: tuple[str, ...] = (*papers.PAPERS, *_AROUND)


class Page(NamedTuple):
    """A picture, and what is written in it."""

    pixels: UInt8[np.ndarray, 'height width 3']
    text: str  # what is written, such as '176/289'; '' if nothing there is a digit
    paper: str  # of `PAPERS`


def draw_page(number: int, most_rows: int = 4, most_digits: int = 8) -> Page:
    """Draws rows of digits that a hand wrote.

    Args:
      number: Seed of all that is random; the papers are those of `PAPERS` in turn.
      most_rows: At most so many rows.
      most_digits: At most so many digits in a row; if one, at least one, else at least two.
    """
    rng = np.random.default_rng([number, 1])
    least = min(2, most_digits)
    rows = [
        rng.integers(0, 10, rng.integers(least, most_digits + 1)).tolist()
        for _ in range(rng.integers(1, most_rows + 1))
    ]
    hand = hands.meet(number)
    paper = PAPERS[number % len(PAPERS)]
    gap = rng.uniform(0.15, 0.6)
    strokes: list[Stroke] = []
    top = 0.0
    for digits in rows:
        right, slope = 0.0, rng.normal(0, 0.02)
        for digit in digits:
            written = hand.write(digit, rng)
            written += _draw_around(written, paper, hand.pen, rng)
            shift = right - _left(written)
            move = [shift, top + slope * shift + rng.normal(0, 0.04)]
            written = [stroke + move for stroke in written]
            right = _right(written) + hand.pen + gap * rng.uniform(0.6, 1.4)
            strokes += written
        top += rng.uniform(1.4, 2.2) + (1.0 if paper in _AROUND else 0)
    is_single = len(rows) == 1 and len(rows[0]) == 1
    height = rng.uniform(60, 400) if is_single else rng.uniform(40, 120)
    pixels = papers.photograph(strokes, hand.pen, height, paper, rng)
    return Page(pixels, '/'.join(''.join(map(str, digits)) for digits in rows), paper)


def draw_single(number: int) -> Page:
    """Draws a single digit, as `draw_page`."""
    return draw_page(number, most_rows=1, most_digits=1)


def draw_nothing(number: int) -> Page:
    """Draws a page without any digit: empty, or with letters, signs and scribbles."""
    rng = np.random.default_rng([number, 2])
    hand = hands.meet(number)
    paper = papers.PAPERS[number % len(papers.PAPERS)]
    strokes: list[Stroke] = []
    right = 0.0
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4, 8])):
        drawn = others.draw_apart(hand, rng)
        move = np.array([right - _left(drawn), 0])
        drawn = [stroke + move for stroke in drawn]
        right = _right(drawn) + hand.pen + rng.uniform(0.2, 0.6)
        strokes += drawn
    pixels = papers.photograph(strokes, hand.pen, rng.uniform(60, 250), paper, rng)
    return Page(pixels, '', paper)


def _left(strokes: list[Stroke]) -> float:
    return min(float(stroke[:, 0].min()) for stroke in strokes)


def _right(strokes: list[Stroke]) -> float:
    return max(float(stroke[:, 0].max()) for stroke in strokes)


def _draw_around(
    digit: list[Stroke], paper: str, pen: float, rng: np.random.Generator
) -> list[Stroke]:
    """Draws what is around a digit without touching it."""
    points = np.concatenate(digit)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    away = pen + rng.uniform(0.1, 0.2)
    if paper == 'ringed':
        width, height = (right - left) / 2, (bottom - top) / 2
        # As large as it takes to leave the corners of the digit inside.
        reach = 1.25 * np.hypot(width, height) + away
        return [arc((left + right) / 2, (top + bottom) / 2, reach, reach, -100, 265)]
    if paper == 'boxed':
        left, right, top, bottom = left - away, right + away, top - away, bottom + away
        corners = (left, top), (right, top), (right, bottom), (left, bottom), (left, top)
        return [line(*corners)]
    if paper == 'underlined':
        return [line((left - 0.1, bottom + away), (right + 0.1, bottom + away))]
    return []
