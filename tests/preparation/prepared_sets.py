"""What the tests of preparation share: the settings, and how data sets are read back."""

import numpy as np

from mnist_flax.data import datasets, shards
from mnist_flax.data.builders import Fields
from mnist_flax.preparation.prepare import Settings

FIELDS = Fields('name', 'data_dir', 'split')
AS_THEY_ARE = Settings(None, 'pad', 0, 0.25, 0)


def read_back(root, split):
    """Reads with the reader of training."""
    return datasets.load_split('mine', str(root), split, FIELDS).examples


def in_order(examples):
    """Sorts examples, since they are stored in a random order."""
    order = np.lexsort(examples.images.reshape(len(examples.images), -1).T)
    return examples.images[order], examples.labels[order]


def assert_equal(examples, images, labels):
    wanted = shards.Examples(images.reshape(len(images), 12, 10, -1), labels)
    for actual, expected in zip(in_order(examples), in_order(wanted), strict=True):
        np.testing.assert_array_equal(actual, expected)
