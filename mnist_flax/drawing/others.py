"""Things that are drawn and are no digits: letters, signs, scribbles, several digits."""

import itertools
from collections.abc import Callable

import numpy as np

from mnist_flax.drawing.curves import Stroke, arc, bend, line, smooth, wobble
from mnist_flax.drawing.hands import Hand

# Letters and signs that no digit looks like, in straight lines and smooth ones. The points
# are in hundredths: x from -30 to 30, y from 0 to 100.
_STRAIGHT = {
    'A': ((-30, 100, 0, 0, 30, 100), (-18, 62, 18, 62)),
    'E': ((28, 0, -25, 0, -25, 100, 28, 100), (-25, 50, 20, 50)),
    'F': ((28, 0, -25, 0, -25, 100), (-25, 48, 18, 48)),
    'H': ((-28, 0, -28, 100), (28, 0, 28, 100), (-28, 50, 28, 50)),
    'K': ((-25, 0, -25, 100), (28, 0, -25, 55), (-8, 40, 28, 100)),
    'M': ((-38, 100, -34, 0, 0, 60, 34, 0, 38, 100),),
    'N': ((-28, 100, -28, 0, 28, 100, 28, 0),),
    'T': ((-32, 0, 32, 0), (0, 0, 0, 100)),
    'W': ((-42, 0, -20, 100, 0, 30, 20, 100, 42, 0),),
    'X': ((-30, 0, 30, 100), (30, 0, -30, 100)),
    'Y': ((-30, 0, 0, 45), (30, 0, -2, 45, -2, 100)),
    'V': ((-32, 0, 0, 100, 32, 0),),
    '+': ((-40, 50, 40, 50), (0, 10, 0, 90)),
    '=': ((-40, 35, 40, 35), (-40, 65, 40, 65)),
    '#': ((-12, 0, -18, 100), (18, 0, 12, 100), (-40, 33, 40, 33), (-40, 67, 40, 67)),
    '*': ((-35, 20, 35, 80), (35, 20, -35, 80), (0, 5, 0, 95)),
    'arrow': ((-60, 50, 60, 50), (30, 25, 60, 50, 30, 75)),
    'window': ((-45, 5, 45, 5, 45, 95, -45, 95, -45, 5), (0, 5, 0, 95), (-45, 50, 45, 50)),
    'ladder': ((-40, 20, 40, 20), (-40, 50, 40, 50), (-40, 80, 40, 80), (-30, 0, -30, 100)),
}
_SMOOTH = {
    'R': ((-25, 100, -25, 0), (-25, 0, 20, 5, 25, 25, 15, 48, -25, 50), (-5, 50, 28, 100)),
    'a': ((25, 15, 0, 5, -28, 40, -10, 90, 15, 70, 25, 15), (25, 10, 25, 80, 40, 98)),
    'e': ((-25, 50, 25, 45, 15, 8, -10, 5, -30, 45, -15, 90, 28, 85),),
    'h': ((-25, 0, -25, 100), (-25, 60, 0, 40, 22, 55, 25, 100)),
    'k': ((-25, 0, -25, 100), (25, 40, -22, 65), (-10, 62, 28, 100)),
    'm': ((-45, 20, -45, 100), (-45, 45, -25, 22, -5, 45, -5, 100),
          (-5, 45, 20, 22, 42, 45, 45, 100)),
    'n': ((-28, 10, -28, 100), (-28, 40, 0, 10, 25, 35, 28, 100)),
    'w': ((-45, 10, -30, 90, -5, 50, 15, 90, 45, 10),),
    'x': ((-30, 5, 30, 95), (30, 0, -30, 100)),
    '@': ((20, 35, -5, 30, -15, 55, 5, 70, 20, 35, 25, 70, 45, 50, 20, 2, -35, 10, -45, 60,
           -10, 98, 35, 90),),
    '&': ((40, 95, -20, 25, 0, 2, 15, 20, -30, 65, -10, 98, 25, 85, 38, 55),),
    'heart': ((0, 25, -20, 0, -45, 25, -25, 65, 0, 100, 25, 65, 45, 25, 20, 0, 0, 25),),
    'wave': ((-70, 50, -45, 30, -20, 65, 5, 30, 30, 65, 60, 40),),
    'spiral': ((0, 50, 12, 45, 10, 62, -15, 65, -20, 35, 15, 22, 35, 50, 20, 85, -25, 88,
                -45, 50),),
}  # fmt: skip


def draw_other(hand: Hand, rng: np.random.Generator) -> list[Stroke]:
    """Draws something that is no digit, in heights of a digit."""
    kinds: tuple[tuple[float, Callable], ...] = (
        (5, _letter),
        (2, _scribble),
        (6, _neighbours),
        (3, _piece),
        (3, _turned),
        (2, _in_a_ring),
        (2, _struck),
        (1, _corner),
        (2, _dots),
        (1, _patch),
    )
    weights = np.array([weight for weight, _ in kinds])
    _, draw = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    return draw(hand, rng)


def draw_apart(hand: Hand, rng: np.random.Generator) -> list[Stroke]:
    """Draws a letter, a sign or a scribble: one thing, no part of which is a digit."""
    draw = (_letter, _letter, _letter, _letter, _scribble)[rng.integers(5)]
    return draw(hand, rng)


def _letter(hand, rng):
    names = [*_STRAIGHT, *_SMOOTH]
    name = names[rng.integers(len(names))]
    points = [np.reshape(of, (-1, 2)) / 100 for of in (_STRAIGHT | _SMOOTH)[name]]
    strokes = [line(*of) if name in _STRAIGHT else smooth(*of) for of in points]
    if name in _STRAIGHT:
        # Long lines get points between, so that they wobble.
        strokes = [
            np.concatenate([bend(a, b, 0.0) for a, b in itertools.pairwise(of)])
            for of in points
        ]
    turn = np.array([[hand.aspect, 0], [-hand.slant, 1]])
    return wobble([of @ turn for of in strokes], 0.03, rng)


def _scribble(hand, rng):
    points = rng.uniform([-0.5, 0], [0.5, 1], (rng.integers(7, 22), 2))
    return [smooth(*points)]


def _neighbours(hand, rng):
    """Two or three digits, that touch or nearly do."""
    strokes: list[Stroke] = []
    right = 0.0
    for _ in range(rng.choice([2, 2, 3])):
        digit = hand.write(int(rng.integers(10)), rng)
        left = min(of[:, 0].min() for of in digit)
        apart = hand.pen * rng.uniform(0.2, 1) + rng.choice([0, 1]) * rng.uniform(0, 0.22)
        shift = np.array([right - left + apart, rng.normal(0, 0.04)])
        digit = [of + shift for of in digit]
        right = max(of[:, 0].max() for of in digit)
        strokes += digit
    return strokes


def _piece(hand, rng):
    """The left or right part of a digit, of those that leave no other digit."""
    digit, side = (
        (0, 1),
        (0, -1),
        (2, 1),
        (2, -1),
        (3, 1),
        (5, 1),
        (5, -1),
        (6, 1),
        (8, 1),
        (8, -1),
    )[rng.integers(10)]
    strokes = hand.write(digit, rng)
    x = np.concatenate(strokes)[:, 0]
    place = x.min() + rng.uniform(0.35, 0.65) * np.ptp(x)
    pieces = []
    for stroke in strokes:
        kept = side * (stroke[:, 0] - place) < 0
        ends = np.flatnonzero(np.diff(kept)) + 1
        pieces += [
            of
            for of, keep in zip(np.split(stroke, ends), np.split(kept, ends), strict=True)
            if keep[0]
        ]
    pieces = [of for of in pieces if len(of) > 1]
    return pieces or _scribble(hand, rng)


def _turned(hand, rng):
    """A digit on its side, or upside down, where it is none then."""
    digit = int(rng.integers(1, 10))
    upside_down = digit in (3, 4, 7) and rng.random() < 0.3
    angle = np.radians(180 if upside_down else rng.choice([-90, 90]) + rng.normal(0, 12))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return [of @ turn for of in hand.write(digit, rng)]


def _in_a_ring(hand, rng):
    digit = hand.write(int(rng.integers(10)), rng)
    middle = np.mean(
        [np.concatenate(digit).min(axis=0), np.concatenate(digit).max(axis=0)], axis=0
    )
    width, height = rng.uniform(0.65, 1.0, 2)
    if rng.random() < 0.6:
        ring = arc(middle[0], middle[1], width, height, -100, 260)
    else:
        x, y = middle
        ring = line(
            (x - width, y - height),
            (x + width, y - height),
            (x + width, y + height),
            (x - width, y + height),
            (x - width, y - height),
        )
    return [*digit, ring]


def _struck(hand, rng):
    """A digit with lines through it, or along it, that are none of its own."""
    digit = hand.write(int(rng.choice([0, 2, 3, 4, 5, 6, 8, 9])), rng)
    ends = np.concatenate(digit)
    (left, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
    over = rng.uniform(0.25, 0.8)
    lines = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.6:
            y = rng.choice([rng.uniform(top, bottom), bottom + 0.3 * hand.pen])
            lines.append(
                line(
                    (left - over, y + rng.normal(0, 0.06)),
                    (right + over, y + rng.normal(0, 0.06)),
                )
            )
        else:
            x = rng.choice([rng.uniform(left, right), left - 0.05, right + 0.05])
            lines.append(
                line(
                    (x + rng.normal(0, 0.06), top - 0.7 * over),
                    (x + rng.normal(0, 0.06), bottom + 0.7 * over),
                )
            )
    return [*digit, *lines]


def _corner(hand, rng):
    """Edges that cross or meet, without the shape of a digit."""
    width, height = rng.uniform(0.5, 1.5), rng.uniform(0.3, 1.0)
    kind = rng.integers(3)
    if kind == 0:  # a box, or three sides of one
        corners = [(0, 0), (width, 0), (width, height), (0, height), (0, 0)]
        start = rng.integers(2)
        return wobble([line(*corners[start : start + rng.choice([4, 5])])], 0.03, rng)
    if kind == 1:  # lines side by side
        number = rng.integers(3, 7)
        return [
            bend((i * 0.25, 0), (i * 0.25 + rng.normal(0, 0.04), height), 0.0)
            for i in range(number)
        ]
    return [  # hatching
        line((-0.4, y), (0.4, y - 0.15)) for y in np.linspace(0, 1, rng.integers(4, 9))
    ]


def _patch(hand, rng):
    """Something without strokes, such as a sheet that lies askew."""
    across, down = rng.uniform(0.6, 1.2, 2)
    y = np.arange(0, down, 0.5 * hand.pen)
    ends = across / 2 * (-1.0) ** np.arange(len(y))
    angle = np.radians(rng.uniform(0, 90))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    there_and_back = np.stack([ends, y], axis=1).repeat(2, axis=0)[:-1]
    there_and_back[1::2, 0] *= -1
    return wobble([there_and_back @ turn], 0.02, rng)


def _dots(hand, rng):
    """Specks that some grain or dirt left, or a single one."""
    if rng.random() < 0.4:
        length = hand.pen * rng.uniform(0.0, 1.4)
        angle = rng.uniform(0, np.pi)
        return [line((0, 0), (length * np.cos(angle) + 0.01, length * np.sin(angle)))]
    places = rng.uniform(0, 1, (rng.integers(3, 14), 2))
    return [np.stack([place, place + rng.normal(0, 0.05, 2)]) for place in places]
