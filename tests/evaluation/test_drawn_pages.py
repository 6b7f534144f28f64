"""Drawn photographs are read, and counted."""

import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.common.errors import UserError
from mnist_flax.drawing import pages
from mnist_flax.evaluation import drawn_pages
from mnist_flax.reading.reader import Reader


class Knowing(Reader):
    """A reader that knows what is drawn, and misreads what it is told to."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def read_one(self, pixels, name):
        text, confidence = next(self.answers)
        if not text:
            raise UserError('nothing')
        return types.SimpleNamespace(text=text, confidence=confidence)


@pytest.mark.slow
def test_what_is_right_wrong_and_refused_is_counted():
    texts = [pages.draw_page(drawn_pages.FIRST + i).text for i in range(4)]
    rows = [(texts[0], 0.99), (texts[1] + '1', 0.8), ('', 0.0), (texts[3], 0.95)]
    single = [(pages.draw_single(drawn_pages.FIRST + i).text, 1.0) for i in range(4)]
    nothing = [('', 0.0), ('7', 0.92), ('', 0.0), ('', 0.0)]
    table = drawn_pages.measure(Knowing(rows + single + nothing), 4)
    assert '| rows of digits | 50.0 | 15.0% to 85.0% | 25.0 | 4 |' in table
    assert '| single digits | 100.0 |' in table
    assert '| no digits | 75.0 | 30.1% to 95.4% | 25.0 | 4 |' in table
    number = sum(len(texts[i].replace('/', '')) for i in (0, 1, 3))
    assert f'In the 3 rows of digits that were answered, 1 of {number} digits' in table
    assert '| 0.0 or more | 75.0 | 66.7 | 25.0 |' in table
    assert '| 0.9 or more | 50.0 | 100.0 | 25.0 |' in table
    assert '| 0.97 or more | 25.0 | 100.0 | 0.0 |' in table


@given(st.text('0123/', max_size=8), st.text('0123/', max_size=8))
def test_errors_are_counted_as_edits(wanted, found):
    count = drawn_pages._count_edits(wanted, found)
    assert count == drawn_pages._count_edits(found, wanted)
    assert (count == 0) == (wanted == found)
    assert abs(len(wanted) - len(found)) <= count <= max(len(wanted), len(found))
    assert drawn_pages._count_edits(wanted + '5', found + '5') == count
