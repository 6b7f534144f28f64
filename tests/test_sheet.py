"""Sheets of paper that lie on a table."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_framing import draw

from mnist_flax import sheet
from mnist_flax.checks import UserError
from mnist_flax.inference import see


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


@pytest.mark.parametrize('radius', [0, 30, 45])
@pytest.mark.parametrize('pen', [12, 20, 28])
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
