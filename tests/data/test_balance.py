"""How evenly images are spread over the classes."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from mnist_flax.data import balance


@pytest.mark.parametrize(
    ('counts', 'expected'),
    [
        ([10, 11, 15], ''),
        ([10, 11, 16], 'a: 10, b: 11, c: 16'),
        ([10, 0, 10], 'a: 10, b: 0, c: 10'),  # a class without images is said too
        ([5, *[4] * 12], ''),
        ([1234, 2, *[3] * 11], 'from 2 (b) to 1,234 (a)'),
        ([1234, 0, *[3] * 11], 'from 3 (c) to 1,234 (a), none of 1 classes'),
    ],
)
def test_uneven_classes_are_described(counts, expected):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert balance.describe(labels, 'abcdefghijklm'[: len(counts)]) == expected


def test_mnist_is_even(mnist):
    assert balance.describe(mnist.train.labels, mnist.class_names) == ''
    assert not balance.is_uneven(mnist.test.labels)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_balanced_accuracy_is_the_known_one(pairs):
    labels, predictions = np.array(pairs).T
    actual = balance.balanced_accuracy(predictions, labels)
    # It warns of predicted classes that have no label.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        assert actual == pytest.approx(balanced_accuracy_score(labels, predictions))
