"""A sheet on a table is found and made upright."""

import numpy as np
import pytest
from PIL import Image

from mnist_flax.reading import sheets

SHEET = np.full((200, 300, 3), 230, np.uint8)
SHEET[60:80, 40:260] = 20  # one line near its top, and a mark at its left
SHEET[120:180, 40:60] = 20


def lay(corners, table=90, size=(500, 400)):
    """Photographs the sheet with its corners, from the top left clockwise, there."""
    ends = np.array([[0, 0], [300, 0], [300, 200], [0, 200]], float)
    back = sheets.solve(np.array(corners, float), ends).ravel()[:8]
    whole = Image.fromarray(np.dstack([SHEET, np.full((200, 300), 255, np.uint8)]))
    laid = whole.transform(size, Image.Transform.PERSPECTIVE, back)
    picture = Image.new('RGB', size, (table, table, table))
    picture.paste(laid, mask=laid.getchannel('A'))
    return np.asarray(picture, np.float32) / 255


SEEN = (
    [(100, 100), (400, 100), (400, 300), (100, 300)],
    [(120, 80), (420, 120), (400, 320), (100, 280)],
    [(150, 110), (350, 100), (420, 320), (90, 300)],
    [(140, 60), (430, 130), (380, 330), (90, 260)],
)


@pytest.mark.parametrize('corners', SEEN)
def test_it_is_seen_from_above_afterwards(corners):
    sheet = sheets.find(lay(corners))
    upright = Image.fromarray(np.round(255 * sheet.colours).astype(np.uint8))
    off = np.abs(
        np.asarray(upright.resize((300, 200)), float) - np.asarray(SHEET, float)
    ).mean()
    assert off < 16  # of 255; its margin is cut off
    # Places on it are where they are in the picture.
    height, width = sheet.colours.shape[:2]
    ends = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    places = sheets.project(sheet.to_picture, ends)
    assert np.abs(places - corners).max() < 12


def test_there_is_none_in_other_pictures():
    noise = np.random.default_rng(0).random((300, 300, 3)).astype(np.float32)
    light = np.tile(np.linspace(0.3, 1, 400)[None, :, None], (300, 1, 3))
    on_white = lay(SEEN[0], table=225)
    small = lay(SEEN[0])[:20, :20]
    for picture in (noise, light, on_white, small, np.zeros((200, 300, 3))):
        assert sheets.find(picture.astype(np.float32)) is None


CUT_OFF = [(-50, 100), (400, 140), (380, 320), (-50, 300)]


def test_the_table_around_a_sheet_that_is_cut_off_becomes_paper():
    picture = lay(CUT_OFF)
    sheet = sheets.find(picture)
    assert sheet.colours.shape == picture.shape
    np.testing.assert_array_equal(sheet.to_picture, np.eye(3))
    assert sheet.colours[[5, 200, 380], [450, 480, 20]].min() > 0.85
    # Where the sheet is, nothing changes.
    np.testing.assert_array_equal(sheet.colours[160:280, 10:350], picture[160:280, 10:350])


def test_the_lit_part_of_a_page_is_no_sheet_if_something_is_written_beside_it():
    picture = lay(CUT_OFF)
    picture[40:44, 100:200] = 0.1
    assert sheets.find(picture) is None


@pytest.mark.parametrize('corners', SEEN)
def test_a_projection_goes_where_it_should(corners):
    ends = np.array([[0, 0], [300, 0], [300, 200], [0, 200]], float)
    projection = sheets.solve(ends, np.array(corners, float))
    np.testing.assert_allclose(sheets.project(projection, ends), corners, atol=1e-6)
