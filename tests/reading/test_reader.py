"""Pictures with any number of digits, end to end: drawn pages, whose content is known."""

import io

import numpy as np
import pytest
from clothes import load_clothes
from drawn_digits import draw
from PIL import Image, ImageDraw
from shipped_reader import load, read

from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.drawing import pages
from mnist_flax.reading.reader import Reader


def write(rows, size=100, gap=40, ink=30, paper=230):
    """Writes rows of digits without any disturbance."""
    width = max(map(len, rows)) * (size + gap) + gap
    page = np.full((len(rows) * (size + gap) + gap, width), paper, np.uint8)
    for i, row in enumerate(rows):
        for j, digit in enumerate(row):
            top, left = (gap + place * (size + gap) for place in (i, j))
            image = draw(int(digit), size=size, ink=ink, paper=paper)
            page[top : top + size, left : left + size] = image
    return page


def test_rows_are_read_from_the_top_and_the_left():
    reading = read(write(['176', '2839', '05']))
    assert reading.text == '176/2839/05'
    assert [digit.row for digit in reading.digits] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    confidences = [digit.prediction.confidence for digit in reading.digits]
    assert reading.confidence == min(confidences) > 0.8
    left = [digit.box[0] for digit in reading.digits]
    assert left[0] < left[1] < left[2]
    for left, top, right, bottom in (digit.box for digit in reading.digits):
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


# Of each paper the first page that no network was trained on, nor any threshold chosen on.
@pytest.mark.parametrize(
    'number', [*range(6), *(pytest.param(i, marks=pytest.mark.slow) for i in range(6, 19))]
)
def test_a_page_of_each_paper_is_read_or_refused(number):
    page = pages.draw_page(7_000_000 // 19 * 19 + number)
    try:
        reading = read(page.pixels)
    except UserError as error:
        assert 'look like digits' in str(error) or 'nothing is drawn' in str(error)
    else:
        assert reading.text == page.text


@pytest.mark.slow
def test_most_pages_are_read_and_hardly_any_wrongly():
    """As docs/handwriting.md says, with other pages."""
    results = []
    for number in range(8_000_000, 8_000_076):
        page = pages.draw_page(number)
        try:
            results.append(read(page.pixels).text == page.text)
        except UserError:
            results.append(None)
    assert results.count(True) >= 0.88 * len(results)
    assert results.count(False) <= 0.08 * len(results)


def test_white_on_black_is_read_too():
    assert read(write(['407'], ink=250, paper=20)).text == '407'
    alpha = np.zeros((180, 460, 4), np.uint8)
    alpha[..., 3] = 255 - write(['407'], ink=0, paper=255)
    assert read(Image.fromarray(alpha)).text == '407'


def test_one_digit_is_read_as_one():
    reading = read(draw(7, size=300))
    assert reading.text == '7'
    ((prediction, box, row),) = reading.digits
    assert (prediction.label, row) == (7, 0)
    assert prediction.image.shape == reading.picture.shape == (28, 28, 1)
    assert prediction.confidence <= prediction.probabilities.max()
    assert box == pytest.approx((0.27, 0.17, 0.73, 0.88), abs=0.03)


def test_the_box_of_a_digit_in_a_small_picture_is_its_own():
    page = np.full((40, 100), 230, np.uint8)
    page[4:36, 60:92] = draw(7, size=32)
    rows, columns = np.nonzero(page < 128)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    ((_, box, _),) = read(page).digits
    assert box == pytest.approx(np.divide(edges, (100, 40, 100, 40)), abs=0.03)


def test_a_digit_fills_its_picture():
    page = draw(3, size=120, pen=0.2)
    rows, columns = np.nonzero(page < 128)
    tight = page[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert read(tight).text == '3'
    assert read(np.kron(tight, np.ones((9, 9), np.uint8))).text == '3'


def test_mnist_s_own_images_go_straight_to_the_networks():
    split = datasets.load_split('mnist', '', 'test[:300]', datasets.Fields('', '', ''))
    images, labels = split.examples.images, split.examples.labels
    readings = load().read(images)
    probabilities = load().recognizer.networks.probabilities(images)
    found = np.array([int(reading.text) for reading in readings])
    np.testing.assert_array_equal(found, probabilities.argmax(axis=-1))
    assert (found == labels).mean() > 0.98


def cross_out(page):
    """Draws two lines through a digit."""
    image = Image.fromarray(page)
    for line in ((20, 30, 180, 170), (20, 170, 180, 30)):
        ImageDraw.Draw(image).line(line, fill=30, width=10)
    return np.asarray(image)


@pytest.mark.parametrize('change', [np.rot90, lambda page: np.rot90(page, 3), cross_out])
def test_what_is_no_digit_is_not_answered(change):
    page = np.ascontiguousarray(change(draw(4, size=200)))
    with pytest.raises(UserError, match='look like (a )?digit|nothing'):
        read(page)


def test_something_else_among_digits_is_not_left_out():
    page = write(['12'])
    page = np.pad(page, ((0, 0), (0, 200)), constant_values=230)
    page[60:140, 350:430] = 30  # stripes, together as tall as a digit
    page[60:140:16, 350:430] = 230
    with pytest.raises(UserError, match=r'of 3 things in it 1 do not look like digits'):
        read(page)


def test_commas_dots_and_specks_are_left_out():
    page = write(['12', '34'])
    page[138:146, 150:156] = 30
    page[270:282, 160:166] = 30
    page[5:8, 20:23] = 30
    assert read(page).text == '12/34'


def test_a_point_or_a_dash_is_left_out_with_a_doubt():
    page = write(['34'])
    page[90:100, 150:160] = 30
    page[88:94, 20:46] = 30
    reading = read(page)
    assert reading.text == '34'
    assert reading.doubt == 'something beside the digits was left out'
    assert read(write(['34'])).doubt == ''


def test_a_line_under_a_digit_is_left_out_and_the_bar_of_a_two_is_not():
    page = write(['32', '75'])
    for top in (131, 271):  # a few pixels below the digits, less than a stroke is wide
        for left in (50, 190):
            page[top : top + 5, left : left + 80] = 30
    assert read(page).text == '32/75'


def test_a_digit_as_wide_as_two_is_one():
    page = write(['505'])
    page[:, 180:280] = 230
    ring = Image.fromarray(page)
    ImageDraw.Draw(ring).ellipse((170, 50, 275, 130), outline=30, width=7)
    assert read(np.asarray(ring)).text == '505'


@pytest.mark.parametrize('digit', ['1', '7'])
def test_a_dot_makes_it_another_sign(digit):
    page = write([digit])
    assert read(page).text == digit
    page[148:162, 84:96] = 30
    with pytest.raises(UserError, match='of 2 things in it 1 do not look like digits'):
        read(page)


@pytest.mark.parametrize('before', ['', '12'])
def test_a_wave_is_no_row_of_digits(before):
    page = np.full((200, 800), 230, np.uint8)
    if before:
        digits = write([before])
        page[: len(digits), 480 : 480 + len(digits[0])] = digits
    x = np.arange(60, 440)
    y = (100 + 25 * np.sin((x - 60) / 25)).round().astype(int)
    for off in range(-5, 6):
        page[y + off, x] = 30
    with pytest.raises(UserError, match='look like'):
        read(page)


@pytest.mark.parametrize('place', [np.s_[:, 300:304], np.s_[100:104], np.s_[230:234]])
def test_a_row_is_not_lost_because_a_line_goes_through_it(place):
    page = np.pad(write(['2176', '0452']), ((0, 0), (0, 60)), constant_values=230)
    page[place] = 30
    try:
        reading = read(page)
    except UserError as error:
        assert 'look like digits' in str(error)
    else:
        assert reading.text == '2176/0452'


def fade(page):
    """Draws the digit in the middle in pencil: a one."""
    page[:, 180:320] = 230 - (230 - page[:, 180:320].astype(int)) // 4
    return page


def cut_last(page):
    """Cuts the last digit off."""
    return page[:, :385]


def add_exponent(page):
    page[20:60, 430:470] = draw(3, size=40, ink=30, paper=230)
    return page


def cut_row(page):
    """Cuts a second row off in the middle."""
    return np.concatenate([page, page])[:270]


@pytest.mark.parametrize('change', [fade, cut_last, add_exponent, cut_row])
def test_a_digit_that_is_not_sure_is_not_left_out_silently(change):
    page = change(np.pad(write(['217']), ((0, 0), (0, 40)), constant_values=230))
    try:
        reading = read(np.ascontiguousarray(page))
    except UserError as error:
        assert 'do not look like digits' in str(error)
    else:
        assert reading.text == '217'


@pytest.mark.parametrize('paper', [(255, 255, 0), (255, 60, 40), (40, 80, 255)])
def test_paper_of_a_strong_colour(paper):
    ink = (230.0 - write(['47'])) / 200
    for pen in ((0, 0, 0), (255, 255, 255)):
        if np.abs(np.mean(paper) - np.mean(pen)) > 60:
            page = paper + ink.clip(0, 1)[..., None] * (np.array(pen) - paper)
            assert read(page.round().astype(np.uint8)).text == '47'


def test_an_empty_page_says_so():
    for page in (np.full((300, 400), 220, np.uint8), np.zeros((100, 100), np.uint8)):
        with pytest.raises(UserError, match='^1: nothing is drawn in it'):
            read(page)


@pytest.mark.slow
def test_a_hostile_picture_ends_in_bounds():
    rng = np.random.default_rng(0)
    specks = np.full((1500, 1500), 230, np.uint8)
    for y, x in rng.integers(0, 1490, (10_000, 2)):
        specks[y : y + 6, x : x + 3] = 30
    noise = rng.integers(0, 256, (1200, 1600), np.uint8)
    squares = np.kron(np.indices((60, 60)).sum(axis=0) % 2, np.ones((20, 20)))
    for page in (specks, noise, (255 * squares).astype(np.uint8)):
        with pytest.raises(UserError, match='^1: '):
            read(page)


def test_other_networks_and_single_pictures_are_taken_whole():
    clothes = Reader(load_clothes())
    (reading,) = clothes.read(write(['12']))
    assert reading.text in clothes.recognizer.class_names
    assert reading.digits[0].box == (0, 0, 1, 1)
    single = Reader(load().recognizer, single=True)
    with pytest.raises(UserError, match='2 things are drawn apart from each other'):
        single.read(write(['12']))


def test_boxes_of_a_sheet_are_where_it_lies():
    page = np.full((500, 700), 60, np.uint8)
    page[100:400, 150:600] = 230
    rows = write(['52'])
    page[150 : 150 + rows.shape[0], 200 : 200 + rows.shape[1]] = rows
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, 'PNG')
    reading = read(buffer.getvalue())
    assert reading.text == '52'
    five, two = (digit.box for digit in reading.digits)
    assert 150 / 700 < five[0] < five[2] < two[0] < two[2] < 600 / 700
    assert 100 / 500 < five[1] < five[3] < 400 / 500
