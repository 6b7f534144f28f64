"""Sheets of paper that lie on a table, and boxes around a digit."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_framing import STROKES, draw

from mnist_flax.recognition import sheet
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.recognizer import see


def lay(page, turn, table=60, size=700):
    """A photograph of a sheet, turned by some degrees, on a table."""
    ground = Image.new('L', (size, size), table)
    image = Image.fromarray(page).convert('LA').rotate(turn, Image.Resampling.BICUBIC, True)
    place = (size - image.width) // 2, (size - image.height) // 2
    ground.paste(image.convert('L'), place, image.getchannel('A'))
    return np.asarray(ground)


@pytest.mark.parametrize('table', [30, 60, 130])
@pytest.mark.parametrize('margin', [20, 60, 150])
def test_a_sheet_on_a_table_is_looked_into(table, margin):
    page = draw(8, 300)
    photo = np.pad(page, margin, constant_values=table)
    difference = see(photo).astype(float) - see(page).astype(float)
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize('turn', [-40, -15, 5, 30])
def test_it_may_be_turned(turn):
    page = draw(0, 400)  # looks much the same turned
    seen = see(lay(page, turn)).astype(float)
    expected = see(np.asarray(Image.fromarray(page).rotate(turn, fillcolor=230)))
    assert np.abs(seen - expected.astype(float)).mean() < 8


@pytest.mark.parametrize('turn', [0, 12])
@pytest.mark.parametrize('margin', [0, 30, 60])
@pytest.mark.parametrize('line', [2, 9])
def test_a_box_around_a_digit_is_none_of_it(turn, margin, line):
    for digit in STROKES:
        page = draw(digit, 300, place=(0.3, 0.3, 0.4))
        image = Image.fromarray(page)
        box = (margin, margin, 299 - margin, 299 - margin)
        ImageDraw.Draw(image).rectangle(box, outline=30, width=line)
        photo = lay(np.asarray(image), turn, 230, 480) if turn else np.asarray(image)
        expected = lay(page, turn, 230, 480) if turn else page
        difference = see(photo).astype(float) - see(expected).astype(float)
        assert np.abs(difference).mean() < 8, digit


def test_a_zero_with_a_dot_is_no_box():
    image = Image.fromarray(np.full((300, 300), 230, np.uint8))
    canvas = ImageDraw.Draw(image)
    canvas.rounded_rectangle((80, 50, 200, 250), 30, outline=30, width=16)
    canvas.ellipse((130, 140, 150, 160), fill=30)
    seen = see(np.asarray(image))
    assert seen[9, 14, 0] < 50 < 150 < seen[4:8, 14, 0].max()


@pytest.mark.parametrize('turn', [0, 20, 45])
def test_an_empty_one_is_said_not_guessed(turn):
    with pytest.raises(UserError, match='it: found nothing drawn'):
        see(lay(np.full((400, 300), 230, np.uint8), turn), 'it')


def test_what_is_round_or_long_or_small_is_none():
    def cut(shape, box):
        canvas = ImageDraw.Draw(image := Image.new('L', (300, 300), 0))
        getattr(canvas, shape)(box, fill=255)
        ink = np.asarray(image) > 127
        return sheet.cut_out(np.stack([1.0 - ink] * 3, axis=-1), ink)

    assert cut('rectangle', (50, 50, 250, 250)).shape == (183, 183, 3)
    assert cut('ellipse', (50, 50, 250, 250)) is None
    assert cut('rectangle', (100, 20, 160, 280)) is None
    assert cut('rectangle', (100, 100, 180, 180)) is None
    assert cut('rectangle', (0, 0, 0, 0)) is None
    assert cut('rectangle', (0, 0, 299, 150)) is None


def test_a_small_one_is_none():
    ink = np.pad(np.ones((49, 49), bool), 20)
    assert sheet.cut_out(np.zeros((*ink.shape, 3)), ink) is None


@pytest.mark.parametrize(
    ('radius', 'pen'), [(r, p) for r in (0, 30, 45) for p in (5, 12, 20, 28) if r or p > 5]
)
def test_an_angular_zero_is_none(radius, pen):
    image = Image.new('L', (300, 300), 230)
    box = (80, 50, 200, 250)
    ImageDraw.Draw(image).rounded_rectangle(box, radius, outline=30, width=pen)
    seen = see(np.asarray(image))
    assert seen[14, 14, 0] < 50 < 150 < seen[4:24, 14, 0].max()


def test_a_comb_is_none():
    page = np.full((600, 600), 30, np.uint8)
    page[100:500, 100:500] = 230
    for column in range(132, 500, 36):
        page[116:500, column : column + 4] = 30
    try:
        see(page, 'comb')
    except UserError as error:
        assert str(error).startswith('comb: found')


def test_a_square_is_no_digit():
    page = np.pad(np.zeros((100, 100), np.uint8), 60, constant_values=255)
    with pytest.raises(UserError, match='found nothing drawn'):
        see(page)
