"""What stands beside digits is not left out silently."""

import numpy as np
import pytest
from drawn_digits import draw
from shipped_reader import read

from mnist_flax.common.errors import UserError

LEFT_OUT = 'something beside the digits was left out'


class Paper:
    """Paper to write on, in pixels."""

    def __init__(self, height, width):
        self.page = np.full((height, width), 230, np.uint8)

    def write(self, digits, left, top, size=80, gap=20):
        """Writes digits in a row; what is outside the paper is cut off."""
        for i, digit in enumerate(digits):
            image = draw(int(digit), size=size, ink=30, paper=230)
            y = np.arange(size) + top
            x = np.arange(size) + left + i * (size + gap)
            y_in, x_in = (y >= 0) & (y < len(self.page)), (x >= 0) & (x < len(self.page[0]))
            place = np.ix_(y[y_in], x[x_in])
            self.page[place] = np.minimum(self.page[place], image[np.ix_(y_in, x_in)])
        return self

    def fill(self, left, top, right, bottom):
        self.page[top:bottom, left:right] = 30
        return self


REFUSED = {
    'a long line beside small digits': Paper(600, 900)
    .fill(100, 20, 106, 320)
    .write('34567', 200, 100),
    'a large digit beside small ones': Paper(600, 900)
    .write('7', 20, 20, size=400)
    .write('345', 500, 100),
    'a one along the edge': Paper(1000, 900)
    .fill(3, 40, 30, 180)
    .write('345', 150, 20, size=200),
    'digits above each other': Paper(400, 300).write('5', 90, 60).write('8', 90, 150),
}


@pytest.mark.parametrize('what', REFUSED)
def test_it_is_refused(what):
    try:
        reading = read(REFUSED[what].page)
    except UserError as error:
        assert 'look like' in str(error)
    else:
        assert what == 'digits above each other'
        assert reading.text == '5/8'


DOUBTED = {
    'the bar of a fraction': (
        Paper(400, 300)
        .write('3', 100, 50, size=110)
        .fill(100, 158, 210, 164)
        .write('4', 100, 164, size=110),
        '3/4',
    ),
    'a decimal point': (
        Paper(200, 600).write('3572', 60, 60).fill(245, 125, 253, 133),
        '3572',
    ),
    'a digit in a corner': (
        Paper(300, 500).write('5', -25, -25).write('345', 110, 20),
        '345',
    ),
    'a neighbour that is cut off': (
        Paper(300, 300).write('5', -35, 60).write('3', 110, 60),
        '3',
    ),
}


@pytest.mark.parametrize('what', DOUBTED)
def test_it_is_left_out_with_a_doubt(what):
    paper, text = DOUBTED[what]
    reading = read(paper.page)
    assert (reading.text, reading.doubt) == (text, LEFT_OUT)


def test_a_row_that_the_picture_cuts_has_a_doubt():
    whole = Paper(300, 600).write('2345', 60, 100).page
    assert read(whole).doubt == ''
    try:
        reading = read(whole[:160])
    except UserError:
        return
    assert reading.doubt == 'digits at the edge of the picture may be cut off'


def test_digits_are_read_beside_a_line_between_rows():
    paper = Paper(500, 700).write('34567', 100, 60).write('34567', 100, 300)
    reading = read(paper.fill(150, 210, 560, 216).page)
    assert reading.text == '34567/34567'
