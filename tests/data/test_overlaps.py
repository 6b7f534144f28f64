"""Images that two sets have in common."""

import numpy as np

from mnist_flax.data import overlaps
from mnist_flax.data.shards import Examples


def examples(*values):
    images = np.array(values, np.uint8)[:, None, None, None].repeat(2, axis=1)
    return Examples(images, np.zeros(len(values), np.int32))


def test_images_of_two_sets_are_counted_with_the_later_one_first():
    sets = {
        'train': examples(1, 2, 3),
        'held-out': examples(3, 4),
        'test': examples(3, 3, 5),
    }
    among = 'images too, with the same pixels'
    assert overlaps.describe(sets) == [
        f'2 of the 3 test images are among the held-out {among}',
        f'2 of the 3 test images are among the train {among}',
        f'1 of the 2 held-out images are among the train {among}',
    ]


def test_mnist_has_none(mnist):
    assert [*mnist.sets] == ['train', 'test']
    assert overlaps.describe(mnist.sets) == []
