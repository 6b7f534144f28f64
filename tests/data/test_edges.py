"""How light the edges of images are."""

import numpy as np
import pytest

from mnist_flax.data import edges


@pytest.mark.parametrize('channels', [1, 3])
def test_only_the_outermost_pixels_count(channels):
    images = np.full((3, 6, 9, channels), 255, np.uint8)
    images[:, 1:-1, 1:-1] = 7
    images[1] = 255 - images[1]
    images[2, 0, 0] = 3  # one does not change the median
    np.testing.assert_array_equal(edges.measure(images), [255, 0, 255])


def test_the_usual_edges_leave_out_the_rarest():
    images = np.zeros((100, 5, 5, 1), np.uint8)
    images[:4] = 255
    assert edges.find_usual(images) == [0, 0]
    images[:50] = 255
    assert edges.find_usual(images) == [0, 255]
