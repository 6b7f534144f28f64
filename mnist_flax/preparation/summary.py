"""What a data set is, in a few lines, and what is strange about it."""

from collections.abc import Mapping

import numpy as np

from mnist_flax.data import balance, overlaps
from mnist_flax.data.shards import Examples

# Pictures that are darker than this everywhere were hardly meant to be.
_BRIGHT = 64

# More classes are not listed by name.
_MOST_LISTED = 20


def describe(splits: Mapping[str, Examples], class_names: tuple[str, ...]) -> list[str]:
    """Describes the splits, and says what a user may want to know before training."""
    train, test = splits['train'], splits['test']
    shape = 'x'.join(map(str, train.images.shape[1:]))
    sizes = ', '.join(f'{len(of.labels):,} {name}' for name, of in splits.items())
    lines = [f'{sizes} images of {shape}, {len(class_names)} classes']
    if len(class_names) <= _MOST_LISTED:
        lines.append(f'classes: {", ".join(class_names)}')
    if counts := balance.describe(train.labels, class_names):
        lines.append(f'train images of each class: {counts}')
    for one, other, name in ((test, train, 'test'), (train, test, 'train')):
        only = np.setdiff1d(one.labels, other.labels)
        if len(only):
            names = ', '.join(class_names[label] for label in only[:5])
            lines.append(f'classes that have {name} images only: {len(only)} ({names})')
    if copies := overlaps.count_copies(test, train):
        lines.append(
            f'{copies:,} of the {len(test.labels):,} test images are in train too, with '
            'the same pixels: the test accuracy will be too good'
        )
    brightest = max(int(of.images.max()) for of in splits.values())
    if brightest < _BRIGHT:
        lines.append(f'no pixel is brighter than {brightest} of 255; see --white')
    return lines
