"""`config.dataset.extra`: examples of your own, trained on beside those of the data set."""

import ml_collections
import numpy as np
import pytest

from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.data.shards import Examples


def make_extra(number: int, class_names: tuple[str, ...], **changes):
    images = np.full((number, 28, 28, 1), len(class_names), np.uint8)
    return Examples(**{'images': images, 'labels': np.arange(number), **changes})


def make_pair(number: int):  # nor need a function take the names of the classes
    return number, number


def load(**fields):
    extra = {'constructor': f'{__name__}.make_extra', 'number': 3, **fields}
    extra = ml_collections.ConfigDict(extra)
    return datasets.load('mnist', '', 'train[:50]', 'test[:50]', 'holdout', 20, extra)


def test_they_are_trained_on_and_never_validated_or_tested_on(mnist):
    dataset = load()
    np.testing.assert_array_equal(dataset.train.images[:30], mnist.train.images[:30])
    np.testing.assert_array_equal(dataset.train.images[30:], make_extra(3, ('',) * 10)[0])
    assert dataset.train.labels[30:].tolist() == [0, 1, 2]
    assert dataset.train.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.validation.images, mnist.train.images[30:50])
    np.testing.assert_array_equal(dataset.test.images, mnist.test.images[:50])


@pytest.mark.parametrize(
    'changes',
    [
        {'images': np.zeros((3, 28, 28), np.uint8)},
        {'images': np.zeros((2, 28, 28, 1), np.uint8)},
        {'images': np.zeros((3, 28, 28, 1))},
        {'images': 3},
        {'labels': np.arange(3.0)},
        {'labels': np.arange(3)[:, None]},
        {'labels': np.array([0, 1, 10])},
        {'constructor': f'{__name__}.make_pair'},
    ],
)
def test_what_does_not_fit_the_data_set_is_one_line(changes):
    message = (
        r'^config.dataset.extra: .* must return Examples of NumPy arrays: uint8 images of '
        r'shape \(28, 28, 1\), and for each an integer label from 0 to 9$'
    )
    with pytest.raises(UserError, match=message):
        load(**changes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'number': 'x'}, "number: found 'x'; allowed: int"),
        ({'constructor': None}, 'constructor: found None; allowed: a function'),
        (
            {'constructor': 'numpy.pi'},
            r'constructor: .* \(TypeError: .*\); allowed: a func',
        ),
    ],
)
def test_a_wrong_field_is_one_line(changes, message):
    with pytest.raises(UserError, match=rf'^config.dataset.extra.{message}'):
        load(**changes)
