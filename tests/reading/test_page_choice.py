"""Which proposals of a row are taken for digits."""

import numpy as np
import pytest

from mnist_flax.reading import page
from mnist_flax.reading.boxes import Box
from mnist_flax.reading.found import Found
from mnist_flax.reading.segments import Candidate

IMAGE = np.zeros((28, 28, 1), np.uint8)


def propose(number, cut_from):
    """Ones side by side, of which the networks are sure."""
    boxes = [Box(10 * i, 0, 10 * i + 8, 20) for i in range(number)]
    row = [Candidate(i, i, IMAGE, box, 50, 1.0, cut_from) for i, box in enumerate(boxes)]
    which = np.eye(10, dtype=np.float32)[1]
    judged = [Found(IMAGE, box, 50, 1.0, 0.95 * row[0].certainty, which) for box in boxes]
    return row, judged


@pytest.mark.parametrize(('number', 'cut_from', 'taken'), [(4, 0, 4), (3, 7, 3), (4, 7, 0)])
def test_a_part_that_would_be_four_digits_is_a_word(number, cut_from, taken):
    row, judged = propose(number, cut_from)
    sure, unsure = page._choose(row, judged, is_alone=False)
    assert (len(sure), len(unsure)) == (taken, number - taken)
