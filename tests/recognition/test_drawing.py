"""Digits drawn by strokes."""

import numpy as np
import pytest
import tfds_directory

from configs import robust
from mnist_flax.data.datasets import datasets
from mnist_flax.recognition import drawing
from mnist_flax.common.errors import UserError


@pytest.fixture(scope='module')
def drawn():
    return drawing.draw_examples(60)


def test_they_are_ones_and_nines_of_mnist_s_form(drawn):
    np.testing.assert_array_equal(drawn.labels, [1, 9] * 30)
    for image in drawn.images[..., 0].astype(float):
        rows, columns = np.nonzero(image > 127)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=2)
        weights = image / image.sum()
        down, sideways = weights.sum(axis=1) @ range(28), weights.sum(axis=0) @ range(28)
        assert [down, sideways] == pytest.approx([14, 14], abs=0.2)


def test_they_are_all_different_and_the_same_every_time(drawn):
    assert len(np.unique(drawn.images, axis=0)) == 60
    np.testing.assert_array_equal(drawing.draw_examples(10).images, drawn.images[:10])


def test_ones_have_a_flag_on_the_left_and_nines_a_loop_on_top(drawn):
    ink = drawn.images[..., 0] > 127
    ones, nines = ink[::2], ink[1::2]
    widths = ones.any(axis=1).sum(axis=1)
    assert np.median(widths) >= 6  # a plain stroke is 4 wide
    assert nines[:, 4:12].sum() > 1.1 * nines[:, 16:24].sum()


def test_they_are_trained_on_and_never_tested_on(mnist, drawn):
    loaded = datasets.load('mnist', '', 'train[:500]', 'test[:50]', 'holdout', 100, drawn=60)
    assert len(loaded.train.labels) == 400 + 60
    np.testing.assert_array_equal(loaded.train.images[400:], drawn.images)
    np.testing.assert_array_equal(loaded.train.labels[400:], drawn.labels)
    np.testing.assert_array_equal(loaded.validation.images, mnist.train.images[400:500])
    assert len(loaded.test.labels) == 50


@pytest.mark.parametrize('number', [-1, 401])
def test_bad_numbers_are_said(number):
    with pytest.raises(UserError, match=f'drawn: found {number}; allowed: 0 to 400, the'):
        datasets.load('mnist', '', 'train[:500]', 'test[:50]', 'holdout', 100, drawn=number)


def test_other_classes_get_no_digits(tmp_path):
    images = np.zeros((20, 28, 28, 1), np.uint8)
    tfds_directory.write(tmp_path, 'letters', images, np.arange(20) % 4, num_classes=4)
    with pytest.raises(UserError, match='drawn: found 2 with the classes 0, 1, 2, 3;'):
        datasets.load('letters', str(tmp_path), 'train', 'test', 'test', 0, drawn=2)


def test_the_robust_config_trains_on_them():
    assert robust.get_config().dataset.drawn == 1600
