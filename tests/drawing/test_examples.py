"""Digits drawn by strokes, as extra training examples."""

import numpy as np
import pytest

from configs import robust
from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.drawing import examples
from mnist_flax.recognition.networks import load_networks

DIGITS = tuple('0123456789')


@pytest.fixture(scope='module')
def drawn():
    return examples.draw_examples(60, DIGITS)


def test_they_are_all_digits_in_mnist_s_format(drawn):
    np.testing.assert_array_equal(drawn.labels, [*range(10)] * 6)
    for image in drawn.images[..., 0].astype(float):
        rows, columns = np.nonzero(image > 100)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=4)
        weights = image / image.sum()
        down, sideways = weights.sum(axis=1) @ range(28), weights.sum(axis=0) @ range(28)
        assert [down, sideways] == pytest.approx([14, 14], abs=0.6)


def test_they_are_all_different_and_the_same_every_time(drawn):
    assert len(np.unique(drawn.images, axis=0)) == 60
    again = examples.draw_examples(10, DIGITS)
    np.testing.assert_array_equal(again.images, drawn.images[:10])


def test_the_networks_of_the_package_know_them_by_hands_that_they_have_not_seen():
    seeds = range(2_000_000, 2_000_200)
    images = np.stack([examples.draw_digit(seed % 10, seed) for seed in seeds])
    found = load_networks().probabilities(images).argmax(axis=-1)
    assert (found == np.array(seeds) % 10).mean() > 0.97


def test_the_robust_config_trains_on_them(drawn):
    settings = robust.get_config().dataset
    assert settings.extra.number == 20_000
    settings.update(train_split='train[:500]', test_split='test[:50]')
    settings.update(holdout_size=100, extra={'number': 60})
    loaded = datasets.load(**settings)
    np.testing.assert_array_equal(loaded.train.images[-60:], drawn.images)
    np.testing.assert_array_equal(loaded.train.labels[-60:], drawn.labels)


@pytest.mark.parametrize(
    ('number', 'classes', 'message'),
    [
        (0, DIGITS, r'\.number: found 0; allowed: 1 or more'),
        (2, ('shirt', 'bag'), ': digits are drawn for data sets of the digits 0 to 9, not'),
    ],
)
def test_other_numbers_and_classes_are_refused(number, classes, message):
    with pytest.raises(UserError, match=f'^config.dataset.extra{message}'):
        examples.draw_examples(number, classes)
