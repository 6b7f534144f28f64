"""What a data set is, in a few lines, and what is strange about it."""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from mnist_flax.data.shards import Examples

# Pictures that are darker than this everywhere were hardly meant to be.
_BRIGHT = 64


def describe(splits: Mapping[str, Examples], class_names: tuple[str, ...]) -> list[str]:
    """Describes the splits, and says what a user may want to know before training."""
    train, test = splits['train'], splits['test']
    shape = 'x'.join(map(str, train.images.shape[1:]))
    sizes = ', '.join(f'{len(of.labels):,} {name}' for name, of in splits.items())
    lines = [f'{sizes} images of {shape}, {len(class_names)} classes']
    lines += _uneven(train, class_names)
    test_only = np.setdiff1d(test.labels, train.labels)
    if len(test_only):
        names = ', '.join(class_names[label] for label in test_only[:5])
        lines.append(f'{len(test_only)} classes have test images only: {names}')
    known = {_digest(image) for image in train.images}
    copies = sum(_digest(image) in known for image in test.images)
    if copies:
        lines.append(
            f'{copies:,} of the {len(test.labels):,} test images are in train too, with '
            'the same pixels: the test accuracy will be too good'
        )
    brightest = max(int(of.images.max()) for of in splits.values())
    if brightest < _BRIGHT:
        lines.append(f'no pixel is brighter than {brightest} of 255; see --white')
    return lines


def _uneven(train: Examples, class_names: tuple[str, ...]) -> Iterator[str]:
    counts = np.bincount(train.labels, minlength=len(class_names))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] > 1.5 * counts[least]:
        yield (
            f'train has from {counts[least]:,} ({class_names[least]}) to '
            f'{counts[most]:,} ({class_names[most]}) images of a class'
        )


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()
