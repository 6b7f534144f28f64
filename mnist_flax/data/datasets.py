"""TFDS data sets as uint8 arrays in memory, read without TensorFlow."""

import dataclasses
import functools
import hashlib
import math
import pathlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, UInt8

from mnist_flax.common import memory
from mnist_flax.common.constructors import construct_named
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.framings import Framing
from mnist_flax.data import builders, overlaps
from mnist_flax.data.builders import Fields
from mnist_flax.data.shards import Examples, concatenate, first_line, read_shard, verify

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# TFDS's data sets whose images have rows for columns, as their authors published them.
_TRANSPOSED = ('emnist',)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The examples that a run is trained, validated (after each epoch) and tested on."""

    full_name: str  # TFDS's name and version, such as 'mnist/3.0.1'
    train: Examples
    validation: Examples
    test: Examples
    class_names: tuple[str, ...]
    turned: bool = False  # see `Split`
    sha256: str = ''  # likewise
    framing: Framing | None = None  # likewise
    extra_sha256: str = ''  # of the training examples that `config.dataset.extra` added

    @property
    def validation_name(self) -> Literal['test', 'held-out']:
        """Names the images that a run is validated on."""
        return 'test' if self.validation is self.test else 'held-out'

    @property
    def sets(self) -> dict[str, Examples]:
        """Names the sets; images that are validated and tested on are one."""
        return {
            'train': self.train,
            self.validation_name: self.validation,
            'test': self.test,
        }

    @property
    def digests(self) -> dict[str, str]:
        """Tells it from another one of the same name, by the name of each digest."""
        found = {'sha256': self.sha256, 'extra_sha256': self.extra_sha256}
        return {name: digest for name, digest in found.items() if digest}

    @functools.cached_property
    def overlaps(self) -> list[str]:
        """Says which sets have images in common that should not."""
        return overlaps.describe(self.sets)

    @property
    def validation_role(self) -> Literal['test', 'validation']:
        """Starts the names of what is measured on these images."""
        return 'test' if self.validation is self.test else 'validation'


class Split(NamedTuple):
    """A part of a data set, such as its test images."""

    full_name: str  # TFDS's name and version, such as 'mnist/3.0.1'
    examples: Examples
    class_names: tuple[str, ...]
    turned: bool = False  # whether its images lie in TFDS, and were set upright
    sha256: str = ''  # of its description, if no list of checksums has it
    framing: Framing | None = None  # how its images were made of pictures, if it says so


def normalize(
    images: UInt8[Array, '*batch height width channels'],
) -> Float[Array, '*batch height width channels']:
    """Maps pixels from 0..255 to [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def check_images(images: Any, shape: tuple[int, ...]) -> UInt8[np.ndarray, 'images ...']:
    """Returns images if they are what a network takes.

    Raises:
      ValueError: They are not uint8, of another shape, or none.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) == 0:
        raise ValueError(
            f'the images must be uint8 of shape (n, {", ".join(map(str, shape))}), found '
            f'{images.dtype} of shape {images.shape}'
        )
    return images


def load(
    name: str,
    data_dir: str,
    train_split: str,
    test_split: str,
    validation: Literal['test', 'holdout'],
    holdout_size: int,
    extra: ml_collections.ConfigDict | None = None,
) -> Dataset:
    """Loads a TFDS image-classification data set.

    Args:
      name: TFDS name, with a config or version if wanted: ``'mnist'``,
        ``'emnist/digits'``, ``'mnist:3.0.1'``.
      data_dir: TFDS directory that holds it; ``''`` is the embedded
        copy of MNIST, or TFDS's default directory for any other name.
      train_split: Split to train on, in TFDS's syntax, such as ``'train[:2000]'``.
      test_split: Split to test on.
      validation: ``'test'`` validates on the test split. ``'holdout'`` takes the last
        ``holdout_size`` examples out of the training split instead; TFDS stores
        examples in a hashed order, so they are a random sample, and the same one on
        every machine.
      holdout_size: Number of examples held out; unused with ``'test'``.
      extra: More examples to train on: ``constructor`` names a function that gets the
        other fields, and ``class_names`` if it takes them, and returns `Examples`.
        Nothing is added if this is empty.

    Raises:
      UserError: The data set, its version or a split is absent, it is of another kind,
        one of its files is damaged, or the extra examples do not fit.
    """

    def load_role(split: str, field: str) -> Split:
        names = (f'config.dataset.{known}' for known in ('name', 'data_dir', field))
        return load_split(name, data_dir, split, Fields(*names))

    train = load_role(train_split, 'train_split').examples
    tested = load_role(test_split, 'test_split')
    held_out = tested.examples
    if validation == 'holdout':
        available = len(train.labels)
        require(
            1 <= holdout_size < available,
            f'config.dataset.holdout_size: found {holdout_size}; allowed: 1 to '
            f'{available - 1}, so that some of the {available} examples of '
            f'{train_split!r} are left to train on',
        )
        held_out = train.slice(-holdout_size, None)
        train = train.slice(None, -holdout_size)
    extra_sha256 = ''
    if extra:
        added = _make_extra(train, extra, tested.class_names)
        extra_sha256 = hashlib.sha256(b''.join(of.tobytes() for of in added)).hexdigest()
        train = concatenate([train, added])
    return Dataset(
        tested.full_name,
        train,
        held_out,
        tested.examples,
        tested.class_names,
        tested.turned,
        tested.sha256,
        tested.framing,
        extra_sha256,
    )


def _make_extra(
    train: Examples, settings: ml_collections.ConfigDict, class_names: tuple[str, ...]
) -> Examples:
    path = 'config.dataset.extra'
    extra = construct_named(settings, path, class_names=class_names)
    require(
        isinstance(extra, Examples)
        and all(isinstance(array, np.ndarray) for array in extra)
        and extra.images.dtype == np.uint8
        and extra.images.shape == (extra.labels.size, *train.images.shape[1:])
        and extra.labels.ndim == 1
        and extra.labels.dtype.kind in 'iu'
        and set(extra.labels.tolist()) <= set(range(len(class_names))),
        f'{path}: {settings.constructor} must return Examples of NumPy arrays: uint8 '
        f'images of shape {train.images.shape[1:]}, and for each an integer label from 0 '
        f'to {len(class_names) - 1}',
    )
    return extra._replace(labels=extra.labels.astype(np.int32))


def load_split(name: str, data_dir: str, split: str, fields: Fields) -> Split:
    """Loads a split of a TFDS image-classification data set.

    Args:
      name: As in `load`.
      data_dir: As in `load`.
      split: In TFDS's syntax, such as ``'test'`` or ``'train[:2000]'``.
      fields: What the user calls these three.

    Raises:
      UserError: As in `load`.
    """
    root = builders.find_root(name, data_dir, fields)
    builder = builders.find(name, root, fields)
    label = _check_features(builder, fields)
    checksums = builders.read_checksums(root)
    folder = pathlib.Path(builder.data_path)
    descriptions = folder.glob('*.json')
    digests = {path.name: verify(path, checksums.get(path)) for path in descriptions}
    sha256 = '' if checksums else digests['dataset_info.json']
    examples = _read_split(builder, checksums, split, fields)
    least, most = int(examples.labels.min()), int(examples.labels.max())
    require(
        least >= 0 and most < label.num_classes,
        f'{fields.name}: {name!r} has labels from {least} to {most}; allowed: '
        f'0 to {label.num_classes - 1}',
    )
    class_names = tuple(label.int2str(i) for i in range(label.num_classes))
    turned = builder.name in _TRANSPOSED
    if turned:
        images = np.ascontiguousarray(examples.images.swapaxes(1, 2))
        examples = examples._replace(images=images)
    framing = builders.read_framing(folder)
    return Split(builder.info.full_name, examples, class_names, turned, sha256, framing)


def _check_features(
    builder: 'tfds.core.DatasetBuilder', fields: Fields
) -> 'tfds.features.ClassLabel':
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    image, label = features.get('image'), features.get('label')
    if not (
        isinstance(image, tfds.features.Image)
        and isinstance(label, tfds.features.ClassLabel)
    ):
        raise UserError(
            f'{fields.name}: {builder.name!r} has the features '
            f"{', '.join(sorted(features))}; it must have an 'image' and a class 'label'"
        )
    height, width, channels = image.shape
    require(
        None not in (height, width) and channels in (1, 3) and image.np_dtype == np.uint8,
        f'{fields.name}: {builder.name!r} has {np.dtype(image.np_dtype)} images of '
        f'shape {image.shape}; allowed: uint8 images of one height and width, with 1 or 3 '
        'channels; scripts/prepare.py --size=HxW makes such images of picture files',
    )
    return label


def _read_split(
    builder: 'tfds.core.DatasetBuilder',
    checksums: dict[pathlib.Path, str],
    split: str,
    fields: Fields,
) -> Examples:
    splits = builder.info.splits
    sizes = ', '.join(f'{name} ({info.num_examples})' for name, info in splits.items())
    try:
        pieces = splits[split].file_instructions
        require(bool(pieces), 'it selects no example')
    except Exception as error:  # TFDS has several types for a split it cannot resolve
        raise UserError(
            f'{fields.split}: found {split!r} ({first_line(error)}); allowed: the splits '
            f'{sizes} and their slices'
        ) from error
    shape = builder.info.features['image'].shape
    size = sum(piece.take for piece in pieces) * math.prod(shape)
    limit = memory.count_bytes() // 3
    require(
        size <= limit,
        f'{fields.split}: the images of {split!r} take {size / 2**30:.1f} GiB; allowed: '
        f'{limit / 2**30:.1f} GiB, a third of the memory; take a slice, or smaller images',
    )
    parts = []
    for piece in pieces:
        path = pathlib.Path(piece.filename)
        shard = read_shard(
            path,
            builder.info.file_format.value,
            piece.examples_in_shard,
            builder.info.features,
            checksums.get(path),
        )
        parts.append(shard.slice(piece.skip, piece.skip + piece.take))
    return concatenate(parts)
