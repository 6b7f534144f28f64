"""Training and test images of what comes in one piece, and a random order of both."""

from collections.abc import Mapping

import numpy as np

from mnist_flax.common.errors import require
from mnist_flax.data.shards import Examples

# The names that people give to splits, and those of TFDS.
SPLITS = {
    'train': 'train', 'training': 'train', 'test': 'test', 'testing': 'test',
    'val': 'validation', 'valid': 'validation', 'validation': 'validation',
}  # fmt: skip


def divide(
    examples: Mapping[str, Examples], test_fraction: float, seed: int
) -> dict[str, Examples]:
    """Draws test images, a part of each class, unless there are some; orders all at random.

    Training may hold out the last examples, so that the order must be random.

    Args:
      examples: The splits; 'all' or 'train' is drawn from.
      test_fraction: Which part of each class, rounded; at least one image is left.
      seed: Of the random numbers.

    Returns:
      The splits 'train', 'test' and others that there were.

    Raises:
      UserError: There is nothing to train on, or too little to draw from.
    """
    rng = np.random.default_rng(seed)
    result = {
        'train' if name == 'all' else SPLITS.get(name, name): of
        for name, of in examples.items()
    }
    require(
        len(result) == len(examples),
        f'of the splits {", ".join(examples)} two have the same meaning; merge them',
    )
    require(
        'train' in result,
        f'there are {" and ".join(sorted(result))}, but no images named train',
    )
    if 'test' not in result:
        train = result['train']
        is_test = np.zeros(len(train.labels), bool)
        for label in np.unique(train.labels):
            (places,) = np.nonzero(train.labels == label)
            most = min(round(test_fraction * len(places)), len(places) - 1)
            is_test[rng.permutation(places)[:most]] = True
        require(
            bool(is_test.any()),
            f'--test_fraction: {test_fraction:g} of each class is less than one image; '
            'give a larger part, or more pictures',
        )
        result['train'] = Examples(train.images[~is_test], train.labels[~is_test])
        result['test'] = Examples(train.images[is_test], train.labels[is_test])
    ordered = dict.fromkeys(['train', 'test', *result])
    return {name: _shuffle(result[name], rng) for name in ordered}


def _shuffle(examples: Examples, rng: np.random.Generator) -> Examples:
    order = rng.permutation(len(examples.labels))
    return Examples(examples.images[order], examples.labels[order])
