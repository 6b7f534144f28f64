"""Printed lines are taken away, and strokes are left."""

import numpy as np
import pytest

from mnist_flax.drawing import pens
from mnist_flax.drawing.curves import arc, line
from mnist_flax.reading import rules

SIZE = (300, 500)


def rule(tilt=0.0, bow=0.0, upright=False):
    """Lines 60 pixels apart, that may be turned, or bend by some pixels."""
    x = np.linspace(-5, 505, 60)
    lines = [
        np.stack([x, y + tilt * (x - 250) + bow * ((x - 250) / 250) ** 2], axis=1)
        for y in range(30, 300, 60)
    ]
    if upright:
        lines += [line((x, -5), (x, 305)) for x in range(30, 500, 60)]
    return pens.draw(lines, 2.0, SIZE)


@pytest.mark.parametrize(
    'options', [{}, {'tilt': 0.05}, {'tilt': -0.1}, {'bow': 3.0}, {'upright': True}]
)
def test_lines_are_found_and_digits_stay_whole(options):
    lines = rule(**options)
    digit = pens.draw(
        [arc(250, 150, 50, 70, 0, 360), line((320, 80), (310, 220))], 8.0, SIZE
    )
    found = rules.find(np.maximum(lines, digit), 0.1)
    only_line = (lines > 0.5) & (digit < 0.05)
    near = pens.draw([arc(250, 150, 50, 70, 0, 360)], 24.0, SIZE) > 0
    assert found.marks[only_line & ~near].mean() > 0.95
    # Where a line crosses the stroke, at most that much of it is lost.
    assert found.marks[digit > 0.5].mean() < 0.1
    assert found.bands[only_line & ~near].mean() > 0.95


def test_a_stroke_that_goes_across_is_no_line():
    one = pens.draw([line((250, 2), (240, 298))], 13.0, SIZE)
    bar = pens.draw([line((20, 50), (480, 60))], 14.0, SIZE)
    row = pens.draw([line((x, 100), (x + 30, 100)) for x in range(20, 450, 45)], 3.0, SIZE)
    for ink in (one, bar, row[:, :440]):
        assert not rules.find(ink, 0.1).marks.any()


def test_noise_is_no_line():
    noise = np.random.default_rng(0).random(SIZE)
    assert not rules.find(noise, 1.6).marks.any()  # 4 % of it are marks


@pytest.mark.parametrize('is_squared', [False, True])
def test_lines_among_others_at_equal_distances_are_found_where_much_is_written(is_squared):
    lines = rule(upright=is_squared)
    row = [arc(x, 145, 16, 20, 0, 360) for x in range(40, 480, 44)]
    written = pens.draw(row, 5.0, SIZE)
    found = rules.find(np.maximum(lines, written), 0.1)
    near = pens.draw(row, 16.0, SIZE) > 0
    assert found.marks[(lines > 0.5) & ~near].mean() > 0.95
    assert found.marks[written > 0.5].mean() < 0.25


def test_a_line_that_is_seen_in_part_is_found_by_the_others():
    lines = rule()
    part = np.zeros(SIZE, bool)
    part[130:170, 40:380] = True
    lines[part] = 0
    alone = rules.find(np.where(np.arange(300)[:, None] // 20 == 7, lines, 0), 0.1)
    assert not alone.marks.any()
    assert rules.find(lines, 0.1).marks[lines > 0.5].mean() > 0.95


def test_lines_whose_pixels_differ_leave_nothing():
    # Between two rows of pixels a thin line is half as dark as on one.
    lines = pens.draw([line((-5, y), (505, y + 6)) for y in range(30, 300, 50)], 1.2, SIZE)
    found = rules.find(lines, 0.1)
    assert not ((lines > 0.1) & ~found.marks).any()
