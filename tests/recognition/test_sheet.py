"""Sheets of paper that lie on a table, and boxes around a digit."""

import contextlib
import itertools

import numpy as np
import pytest
from drawn_digits import STROKES, differ, draw, draw_boxes
from PIL import Image, ImageDraw

from mnist_flax.common.errors import UserError
from mnist_flax.recognition import sheet
from mnist_flax.recognition.inputs import to_mnist_format

QUICK_BOXES = (2, 30, 0), (9, 0, 12), (9, 60, 0)


def lay(page, turn, table=60, size=700):
    """A photograph of a sheet, turned by some degrees, on a table."""
    ground = Image.new('L', (size, size), table)
    image = Image.fromarray(page).convert('LA').rotate(turn, Image.Resampling.BICUBIC, True)
    place = (size - image.width) // 2, (size - image.height) // 2
    ground.paste(image.convert('L'), place, image.getchannel('A'))
    return np.asarray(ground)


@pytest.mark.parametrize('table', [30, 60, 130])
@pytest.mark.parametrize('margin', [20, 60, 150])
def test_a_sheet_on_a_table_is_cut_out(table, margin):
    page = draw(8, 300)
    assert differ(np.pad(page, margin, constant_values=table), page) < 8


@pytest.mark.parametrize('turn', [-40, -15, 5, 30])
def test_a_sheet_may_be_turned(turn):
    page = draw(0, 400)  # looks much the same turned
    turned = np.asarray(Image.fromarray(page).rotate(turn, fillcolor=230))
    assert differ(lay(page, turn), turned) < 8


@pytest.mark.parametrize(
    ('line', 'margin', 'turn'),
    [
        case if case in QUICK_BOXES else pytest.param(*case, marks=pytest.mark.slow)
        for case in itertools.product((2, 9), (0, 30, 60), (0, 12))
    ],
)
def test_a_box_around_a_digit_is_left_out(turn, margin, line):
    for digit in (0, 4, 7) if turn else STROKES:
        page = draw(digit, 300, place=(0.3, 0.3, 0.4))
        pages = draw_boxes(margin, line=line, page=page), page
        if turn:
            pages = (lay(of, turn, 230, 480) for of in pages)
        assert differ(*pages) < 8, digit


@pytest.mark.parametrize('turn', [0, 20, 45])
def test_an_empty_sheet_is_refused(turn):
    with pytest.raises(UserError, match='it: nothing is drawn'):
        to_mnist_format(lay(np.full((400, 300), 230, np.uint8), turn), 'it')


@pytest.mark.parametrize(
    ('shape', 'box', 'size', 'is_sheet'),
    [
        ('rectangle', (50, 50, 250, 250), 300, True),
        ('ellipse', (50, 50, 250, 250), 300, False),
        ('rectangle', (100, 20, 160, 280), 300, False),  # long
        ('rectangle', (100, 100, 180, 180), 300, False),  # small
        ('rectangle', (20, 20, 68, 68), 89, False),  # coarse
        ('rectangle', (0, 0, 0, 0), 300, False),
        ('rectangle', (0, 0, 299, 150), 300, False),  # from margin to margin
    ],
)
def test_what_is_a_sheet(shape, box, size, is_sheet):
    canvas = ImageDraw.Draw(image := Image.new('L', (size, size), 0))
    getattr(canvas, shape)(box, fill=255)
    ink = np.asarray(image) > 127
    cut = sheet.cut_out(np.stack([1.0 - ink] * 3, axis=-1), ink)
    assert (cut is not None and cut.shape == (183, 183, 3)) == is_sheet


@pytest.mark.parametrize(
    ('radius', 'pen'), [(r, p) for r in (0, 30, 45) for p in (5, 12, 20, 28) if r or p > 5]
)
@pytest.mark.parametrize('dot', [0, 10])
def test_an_angular_zero_is_not_a_box(radius, pen, dot):
    image = Image.new('L', (300, 300), 230)
    canvas = ImageDraw.Draw(image)
    canvas.rounded_rectangle((80, 50, 200, 250), radius, outline=30, width=pen)
    if dot:
        canvas.ellipse((140 - dot, 150 - dot, 140 + dot, 150 + dot), fill=30)
    seen = to_mnist_format(np.asarray(image))
    assert seen[9, 14, 0] < 50 < 150 < seen[4:8, 14, 0].max()


def test_a_comb_is_one_line_at_most():
    page = np.full((600, 600), 30, np.uint8)
    page[100:500, 100:500] = 230
    for column in range(132, 500, 36):
        page[116:500, column : column + 4] = 30
    with contextlib.suppress(UserError):
        to_mnist_format(page, 'comb')
