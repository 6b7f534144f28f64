"""A TFDS data set made of labelled pictures: read, brought to one size, split, written."""

import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mnist_flax.checkpointing import workdirs
from mnist_flax.common import memory
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.framings import Framing
from mnist_flax.data.shards import Examples
from mnist_flax.preparation import classes, kinds, splits, summary, writer
from mnist_flax.preparation.sources import Label, Options, Source
from mnist_flax.recognition import inputs, resizing
from mnist_flax.recognition.resizing import Pixels

# Larger pictures are wanted smaller; `pictures.read` may have averaged them already.
_MOST_SIDE = 1023


class Settings(NamedTuple):
    """What is made of the pictures."""

    size: tuple[int, int] | None  # height and width; as the pictures have them if None
    framing: Framing  # see `inputs.to_input`
    channels: int  # 1 or 3; 0 for 3 if any picture has colours
    test_fraction: float  # of what is not split, drawn from each class
    seed: int  # of this drawing, and of the order


class _Read(NamedTuple):
    """The examples of a split as they were read."""

    images: list[Pixels]
    labels: list[Label]


def prepare(
    path: pathlib.Path,
    root: pathlib.Path,
    name: str,
    file_format: str,
    class_names: Sequence[str],
    options: Options,
    settings: Settings,
) -> None:
    """Makes a TFDS data set of labelled pictures, and prints what it is.

    Args:
      path: Where the pictures are, as in `kinds.read`.
      root: The TFDS directory that gets the data set.
      name: The name of the data set.
      file_format: One of `records.FORMATS`.
      class_names: Names for the classes that are numbers in the files, or none.
      options: As in `kinds.read`.
      settings: What is made of the pictures.

    Raises:
      UserError: The pictures cannot be read, have several sizes and none is wanted, or are
        too many; or the data set is there already.
      OSError: The folder cannot be written.
    """
    _check_target(root, name)
    source = kinds.read(path, options)
    found = _read_all(source, settings)
    names, labels = classes.number(
        {split: of.labels for split, of in found.items()},
        source.class_names,
        tuple(class_names),
    )
    images = _to_arrays({split: of.images for split, of in found.items()}, settings)
    whole = {split: Examples(images[split], labels[split]) for split in found}
    divided = splits.divide(whole, settings.test_fraction, settings.seed)
    lines = [
        *summary.describe(divided, names),
        *_describe_framing(settings),
        *([source.note] if source.note else []),
    ]
    description = '. '.join(lines)
    folder = writer.write(
        root, name, divided, names, file_format, description, settings.framing
    )
    print('\n'.join([f'{folder}:', *lines]))


def _check_target(root: pathlib.Path, name: str) -> None:
    """Checks that a data set can be written, and would be found by its name."""
    import tensorflow_datasets as tfds

    folder = root / name
    require(
        not any(not path.name.startswith('.') for path in folder.glob('*')),
        f'--name: {folder} is there already; delete it, or choose another name',
    )
    try:
        special = bool(tfds.builder_cls(name).builder_configs) or name == 'mnist'
    except Exception:  # TFDS knows no such data set, as it should be
        special = False
    require(
        not special,
        f'--name: {name!r} means a data set of TFDS; choose another name, such as '
        f'my_{name}',
    )
    workdirs.prepare(str(root), '--data_dir')  # which only makes it, and tries to write


def _read_all(source: Source, settings: Settings) -> dict[str, _Read]:
    """Reads all pictures, resized if that is wanted.

    They are kept in memory, as training will keep them.
    """
    found = {split: _Read([], []) for split in source.parts}
    sizes: Counter[tuple[int, ...]] = Counter()
    unreadable: list[UserError] = []
    left = memory.count_bytes() // 4
    for split, part in source.parts.items():
        bar = tqdm(part.examples, f'reading {split}', part.size, unit='', **writer.BAR)
        for name, picture, label in bar:
            try:
                pixels = inputs.to_input(picture, name, settings.framing, settings.size)
            except UserError as error:
                unreadable.append(error)
                continue
            sizes[pixels.shape[:2]] += 1
            if len(sizes) > 1:
                continue  # will be refused; the others are only counted
            left -= pixels.nbytes
            require(
                left >= 0,
                f'{name}: the pictures up to this one fill a quarter of the memory; make '
                'them smaller by --size=HxW, or take fewer',
            )
            found[split].images.append(pixels)
            found[split].labels.append(label)
    total = sum(sizes.values()) + len(unreadable)
    require(
        not unreadable,
        f'{len(unreadable)} of {total} pictures cannot be used; the first is '
        f'{next(iter(unreadable), "")}',
    )
    if sizes:
        _check_sizes(sizes)
    for split, read in found.items():
        require(bool(read.images), f'there are no pictures in {split!r}')
    return found


def _check_sizes(sizes: Counter[tuple[int, ...]]) -> None:
    counts = [f'{count} of {h}x{w}' for (h, w), count in sizes.most_common(5)]
    others = f', and {len(sizes) - 5} more sizes' if len(sizes) > 5 else ''
    require(
        len(sizes) == 1,
        f'the pictures have several sizes (height x width): {", ".join(counts)}{others}; '
        'choose one by --size=HxW',
    )
    (size,) = sizes
    require(
        max(size) <= _MOST_SIDE,
        f'the pictures have more than {_MOST_SIDE} pixels a side; choose a smaller size by '
        '--size=HxW',
    )


def _describe_framing(settings: Settings) -> list[str]:
    described = []
    if settings.framing == 'mnist':
        described.append("each picture was given MNIST's format, if it had another")
    if settings.size:
        height, width = settings.size
        is_stretched = settings.framing == 'stretch'
        how = 'stretched' if is_stretched else 'padded with the colour of its edge'
        described.append(
            f'each picture of another size was resized to {height}x{width} and {how}'
        )
    return described


def _to_arrays(
    images: Mapping[str, list[Pixels]], settings: Settings
) -> dict[str, np.ndarray]:
    channels = settings.channels or max(
        image.shape[2] for of_split in images.values() for image in of_split
    )
    return {
        split: np.stack([resizing.to_channels(image, channels) for image in of_split])
        for split, of_split in images.items()
    }
