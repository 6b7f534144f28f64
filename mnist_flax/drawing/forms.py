"""The forms that people give the ten digits, in the USA, in Europe and elsewhere."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mnist_flax.drawing.curves import Stroke, arc, bend, line, smooth


class Form(NamedTuple):
    """A way to draw a digit."""

    draw: Callable[[np.random.Generator], list[Stroke]]
    weight: float  # how often it is drawn, among the forms of its digit


def _zero(rng):
    width, start = rng.uniform(0.17, 0.42), rng.uniform(-130, -40)
    turn = rng.choice([-1, 1]) * rng.uniform(335, 400)
    return [arc(0, 0.5, width, 0.5, start, start + turn)]


def _slashed_zero(rng):
    width, over = rng.uniform(0.28, 0.42), rng.uniform(0.6, 1.25)
    slash = 0.5 * over
    return [
        arc(0, 0.5, width, 0.5, -90, 280),
        line(
            (-1.3 * width * slash, 0.5 + 0.75 * slash),
            (1.3 * width * slash, 0.5 - 0.75 * slash),
        ),
    ]


def _plain_one(rng):
    return [bend((rng.uniform(-0.05, 0.3), 0), (0, 1), rng.normal(0, 0.03))]


def _flagged_one(rng):
    top = np.array([rng.uniform(-0.1, 0.35), 0])
    angle, length = np.radians(rng.uniform(22, 62)), rng.uniform(0.15, 0.65)
    flag = top + length * np.array([-np.sin(angle), np.cos(angle)])
    return [bend(flag, top, rng.normal(0.03, 0.06)), bend(top, (0, 1), rng.normal(0, 0.02))]


def _footed_one(rng):
    angle, length = np.radians(rng.uniform(25, 65)), rng.uniform(0.1, 0.4)
    half = rng.uniform(0.12, 0.3)
    flag = length * np.array([-np.sin(angle), np.cos(angle)])
    foot = line((-half, 1 + rng.normal(0, 0.02)), (half, 1 + rng.normal(0, 0.02)))
    return [bend(flag, (0, 0), rng.normal(0, 0.05)), line((0, 0), (0, 1)), foot]


def _two(rng):
    width, height = rng.uniform(0.1, 0.32), rng.uniform(0.17, 0.28)
    top = arc(0, height, width, height, rng.uniform(170, 215), rng.uniform(370, 395))
    left, right = rng.uniform(-0.38, -0.22), rng.uniform(0.2, 0.42)
    wave = rng.uniform(-0.05, 0.08)
    base = smooth(
        (left, 1), ((left + right) / 2, 1 - wave), (right, 1 + rng.normal(0, 0.03))
    )
    return [np.concatenate([smooth(top, (left, 1)), base])]


def _looped_two(rng):
    width, height = rng.uniform(0.2, 0.32), rng.uniform(0.17, 0.26)
    top = arc(0, height, width, height, rng.uniform(170, 215), rng.uniform(370, 395))
    x, loop, flat = (
        rng.uniform(-0.3, -0.15),
        rng.uniform(0.07, 0.14),
        rng.uniform(0.05, 0.1),
    )
    turn = arc(x, 1 - flat, loop, flat, 60, 300)
    right = rng.uniform(0.2, 0.42)
    end = (
        ((right + x) / 2, 1 - flat + rng.uniform(0, 0.05)),
        (right, 1 - rng.uniform(-0.02, 0.12)),
    )
    return [smooth(top, *turn[:-1], turn[-1], *end)]


def _closed_two(rng):
    # It begins within, so that the top is a loop.
    width, height = rng.uniform(0.2, 0.3), rng.uniform(0.16, 0.25)
    inner = (rng.uniform(-0.1, 0.12), height * rng.uniform(1.2, 2))
    top = arc(0, height, width, height, rng.uniform(110, 170), rng.uniform(370, 395))
    left, right = rng.uniform(-0.38, -0.22), rng.uniform(0.2, 0.4)
    return [
        np.concatenate(
            [smooth(inner, top, (left, 1)), line((right, 1 + rng.normal(0, 0.03)))]
        )
    ]


def _three(rng):
    upper, lower = rng.uniform(0.18, 0.3), rng.uniform(0.22, 0.34)
    middle = rng.uniform(0.4, 0.52)
    waist = (rng.uniform(-0.12, 0.08), middle)
    top = arc(0, middle / 2, upper, middle / 2, rng.uniform(185, 230), 420)
    bottom = arc(0, (1 + middle) / 2, lower, (1 - middle) / 2, -60, rng.uniform(130, 170))
    return [smooth(top, waist, bottom)]


def _flat_three(rng):
    left, right = rng.uniform(-0.32, -0.2), rng.uniform(0.18, 0.3)
    middle = rng.uniform(0.33, 0.45)
    waist = rng.uniform(-0.12, 0.0)
    top = line((left, rng.uniform(-0.02, 0.04)), (right, 0), (waist, middle))
    lower = rng.uniform(0.25, 0.34)
    bottom = arc(0, (1 + middle) / 2, lower, (1 - middle) / 2, -80, rng.uniform(130, 175))
    return [np.concatenate([top, bottom])]


def _looped_three(rng):
    upper, lower = rng.uniform(0.2, 0.3), rng.uniform(0.24, 0.34)
    middle, size = rng.uniform(0.42, 0.5), rng.uniform(0.04, 0.09)
    top = arc(0, middle / 2, upper, middle / 2, rng.uniform(190, 225), 410)
    loop = arc(-0.05, middle, size * 1.5, size, 70, 300)
    bottom = arc(0, (1 + middle) / 2, lower, (1 - middle) / 2, -50, rng.uniform(130, 170))
    return [smooth(top, loop, bottom)]


def _square_three(rng):
    left, right = rng.uniform(-0.3, -0.15), rng.uniform(0.15, 0.28)
    middle, waist = rng.uniform(0.4, 0.55), rng.uniform(-0.2, 0.05)
    corners = line(
        (left, 0), (right, rng.normal(0, 0.03)), (right + rng.normal(0, 0.04), 1), (left, 1)
    )
    return [corners, line((waist, middle), (right, middle + rng.normal(0, 0.03)))]


def _open_four(rng):
    top, left = rng.uniform(-0.2, 0.08), rng.uniform(-0.4, -0.25)
    bar, right = rng.uniform(0.45, 0.78), rng.uniform(0.25, 0.45)
    x = rng.uniform(0.05, 0.2)
    corner = (left, bar + rng.normal(0, 0.03))
    down = bend((top, rng.uniform(0, 0.1)), corner, rng.normal(0, 0.08))
    across = line((right, bar + rng.normal(0, 0.04)))
    start = rng.uniform(0, bar - 0.08)
    stem = bend((x + rng.normal(0.03, 0.04), start), (x, 1), rng.normal(0, 0.03))
    return [np.concatenate([down, across]), stem]


def _closed_four(rng):
    x, left = rng.uniform(0.05, 0.18), rng.uniform(-0.42, -0.25)
    bar, right = rng.uniform(0.55, 0.72), rng.uniform(0.22, 0.42)
    top = (x, 0)
    return [
        line(top, (left, bar), (right, bar + rng.normal(0, 0.04))),
        line(top, (x + rng.normal(0, 0.04), 1)),
    ]


def _square_four(rng):
    # Like an L and a short stroke: frequent in eastern Europe and in block letters.
    left, x = rng.uniform(-0.35, -0.2), rng.uniform(0.1, 0.28)
    bar = rng.uniform(0.4, 0.68)
    top = rng.uniform(0, 0.4)
    right = x + max(0.0, rng.uniform(-0.15, 0.2))
    return [
        line(
            (left + rng.normal(0, 0.04), 0), (left, bar), (right, bar + rng.normal(0, 0.03))
        ),
        bend((x + rng.normal(0, 0.04), top), (x, 1), rng.normal(0, 0.03)),
    ]


def _one_stroke_four(rng):
    # Down, to the right, and back through the bar with a loop or a corner.
    left, right = rng.uniform(-0.38, -0.25), rng.uniform(0.2, 0.38)
    bar, up = rng.uniform(0.5, 0.65), rng.uniform(0.05, 0.3)
    x = rng.uniform(-0.02, 0.14)
    start = (rng.uniform(-0.1, 0.12), 0)
    return [
        smooth(
            start,
            (left, bar),
            (left + 0.05, bar + 0.02),
            (right, bar - 0.03),
            (right - 0.04, up + 0.1),
            (x + 0.08, up + 0.25),
            (x, 1),
        )
    ]


def _five(rng):
    left, top = rng.uniform(-0.28, -0.15), rng.uniform(0.36, 0.48)
    foot = (left + rng.normal(0, 0.04), top)
    width = rng.uniform(0.24, 0.36)
    belly = arc(
        0,
        (1 + top) / 2 - 0.03,
        width,
        (1 - top) / 2 + 0.03,
        rng.uniform(215, 250),
        rng.uniform(470, 525),
    )
    body = np.concatenate([line((left, 0)), smooth(foot, belly)])
    # Its bar is drawn last, and often misses the rest.
    is_apart = rng.random() < 0.35
    across, down = (
        (rng.uniform(0.0, 0.14), rng.uniform(-0.12, 0.03)) if is_apart else (0, 0)
    )
    length, rise = rng.uniform(0.25, 0.55), rng.normal(-0.01, 0.05)
    return [body, line((left + across, down), (left + across + length, down + rise))]


def _round_five(rng):
    # In one stroke, like an S.
    left, top = rng.uniform(-0.28, -0.12), rng.uniform(0.34, 0.48)
    width = rng.uniform(0.22, 0.34)
    belly = arc(0, (1 + top) / 2, width, (1 - top) / 2, -80, rng.uniform(120, 165))
    bar = line(
        (rng.uniform(0.15, 0.38), rng.uniform(-0.03, 0.05)), (left, rng.uniform(0, 0.05))
    )
    return [np.concatenate([bar, smooth((left - 0.02, top), belly)])]


def _six(rng):
    width, height = rng.uniform(0.2, 0.34), rng.uniform(0.18, 0.3)
    top = (rng.uniform(-0.05, 0.35), 0)
    y = 1 - height
    side = (-width * rng.uniform(0.75, 1.0), rng.uniform(0.4, 0.55))
    loop = arc(0, y, width, height, 180, 180 - rng.uniform(330, 400))
    return [smooth(top, side, loop)]


def _straight_six(rng):
    width, height = rng.uniform(0.18, 0.3), rng.uniform(0.16, 0.26)
    y = 1 - height
    loop = arc(0, y, width, height, 200, 200 - rng.uniform(340, 400))
    return [np.concatenate([line((rng.uniform(-0.2, 0.25), 0)), loop])]


def _seven(rng, crossed=False, serif=False, curly=False):
    left, right = rng.uniform(-0.38, -0.2), rng.uniform(0.2, 0.36)
    bottom = rng.uniform(-0.22, 0.08)
    rise = rng.uniform(-0.08, 0.08)
    if curly:
        wave = rng.uniform(0.03, 0.09)
        across = smooth(
            (left, wave),
            (left / 2, -wave / 2),
            ((left + right) / 2 + 0.05, wave),
            (right, 0),
        )
    else:
        across = bend((left, rise), (right, 0), rng.normal(0, 0.03))
    strokes = [
        np.concatenate([across, bend((right, 0), (bottom, 1), rng.normal(0.02, 0.06))])
    ]
    if serif:
        strokes.append(
            line(
                (left, rise),
                (left + rng.normal(-0.02, 0.03), rise + rng.uniform(0.08, 0.25)),
            )
        )
    if crossed:
        y = rng.uniform(0.38, 0.6)
        x = right + y * (bottom - right)
        half, tilt = rng.uniform(0.12, 0.28), rng.normal(-0.02, 0.05)
        strokes.append(
            line((x - half, y - tilt), (x + half * rng.uniform(0.8, 1.1), y + tilt))
        )
    return strokes


def _crossed_seven(rng):
    return _seven(rng, crossed=True, serif=rng.random() < 0.3, curly=rng.random() < 0.25)


def _serif_seven(rng):
    return _seven(rng, serif=True)


def _curly_seven(rng):
    return _seven(rng, curly=True, serif=rng.random() < 0.4)


def _eight(rng):
    # In one stroke, from the top right, through the middle twice.
    upper, lower = rng.uniform(0.16, 0.27), rng.uniform(0.2, 0.34)
    middle = rng.uniform(0.4, 0.53)
    end = rng.uniform(-0.35, 0.1)
    top = arc(0, middle / 2, upper, middle / 2, -50, -215)
    bottom = arc(0, (1 + middle) / 2, lower, (1 - middle) / 2, -30, 205)
    return [
        smooth(top, (0, middle), bottom, (0, middle), (upper * (1 + end), middle * 0.2))
    ]


def _two_circles(rng):
    upper, lower = rng.uniform(0.16, 0.28), rng.uniform(0.2, 0.34)
    middle = rng.uniform(0.4, 0.52)
    turn = rng.uniform(0, 360)
    return [
        arc(0, middle / 2, upper, middle / 2, 90, 450),
        arc(
            0, (1 + middle) / 2, lower, (1 - middle) / 2, turn, turn + rng.uniform(350, 380)
        ),
    ]


def _nine(rng):
    width, height = rng.uniform(0.18, 0.32), rng.uniform(0.17, 0.28)
    start, turn = rng.uniform(-60, 10), rng.uniform(330, 400)
    loop = arc(0, height, width, height, start, start - turn)
    leg = bend(
        (width, height * rng.uniform(0.2, 0.9)),
        (width + rng.uniform(-0.28, 0.08), 1),
        rng.normal(0, 0.05),
    )
    return [loop, leg]


def _curved_nine(rng):
    # Its leg swings to the left, as that of a g.
    width, height = rng.uniform(0.16, 0.32), rng.uniform(0.14, 0.28)
    loop = arc(0, height, width, height, rng.uniform(-60, 0), rng.uniform(-420, -340))
    hook, depth = rng.uniform(0.15, 0.42), rng.uniform(0.06, 0.28)
    bow = arc(width - hook, 1 - depth, hook, depth, 0, rng.uniform(70, 190))
    return [loop, np.concatenate([line((width, height * rng.uniform(0.3, 1))), bow])]


def _square_nine(rng):
    # Its leg ends in a line to the left.
    width, height = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.26)
    loop = arc(0, height, width, height, rng.uniform(-60, 0), rng.uniform(-420, -340))
    start, end = (width, height * rng.uniform(0.3, 1)), (width + rng.normal(0.02, 0.05), 1)
    foot = (rng.uniform(-0.35, 0.0), 1 + rng.normal(0, 0.04))
    return [loop, line(start, end, foot)]


def _one_stroke_nine(rng):
    width, height = rng.uniform(0.18, 0.3), rng.uniform(0.16, 0.26)
    loop = arc(0, height, width, height, rng.uniform(-40, 0), -355)
    end = (rng.uniform(-0.2, 0.25), 1)
    return [smooth(loop, (width * rng.uniform(0.7, 1), 0.55), end)]


FORMS: dict[int, tuple[Form, ...]] = {
    0: (Form(_zero, 12), Form(_slashed_zero, 1)),
    1: (Form(_plain_one, 2), Form(_flagged_one, 6), Form(_footed_one, 2)),
    2: (Form(_two, 3), Form(_looped_two, 2), Form(_closed_two, 2)),
    3: (
        Form(_three, 4),
        Form(_flat_three, 2),
        Form(_looped_three, 1),
        Form(_square_three, 0.5),
    ),
    4: (
        Form(_open_four, 3),
        Form(_closed_four, 2),
        Form(_square_four, 3),
        Form(_one_stroke_four, 1),
    ),
    5: (Form(_five, 4), Form(_round_five, 2)),
    6: (Form(_six, 3), Form(_straight_six, 1)),
    7: (
        Form(_seven, 2),
        Form(_serif_seven, 2),
        Form(_crossed_seven, 4),
        Form(_curly_seven, 2),
    ),
    8: (Form(_eight, 3), Form(_two_circles, 2)),
    9: (
        Form(_nine, 3),
        Form(_curved_nine, 4),
        Form(_square_nine, 3),
        Form(_one_stroke_nine, 1),
    ),
}
