"""Drawn photographs, whose content is known."""

import numpy as np
import pytest

from mnist_flax.drawing import pages


@pytest.mark.slow
def test_each_paper_comes_in_turn_and_everything_is_the_same_again():
    number = len(pages.PAPERS)
    drawn = [pages.draw_page(i) for i in range(number)]
    assert [page.paper for page in drawn] == [*pages.PAPERS]
    for i, page in enumerate(drawn):
        assert page.pixels.dtype == np.uint8
        assert min(page.pixels.shape[:2]) >= 60
        rows = page.text.split('/')
        assert 1 <= len(rows) <= 4
        assert all(row.isdecimal() and 2 <= len(row) <= 8 for row in rows)
        if i % 5 == 0:
            np.testing.assert_array_equal(pages.draw_page(i).pixels, page.pixels)


@pytest.mark.slow
@pytest.mark.parametrize('number', range(len(pages.PAPERS)))
def test_single_digits_and_none(number):
    single, nothing = pages.draw_single(number), pages.draw_nothing(number)
    assert len(single.text) == 1
    assert nothing.text == ''
    for page in (single, nothing):
        assert max(page.pixels.shape) < 3000


def test_there_is_ink_of_the_digits():
    page = pages.draw_page(0)  # on plain paper
    gray = page.pixels.min(axis=-1).astype(float)
    dark = gray < 0.7 * np.median(gray)
    assert 0.005 < dark.mean() < 0.3
