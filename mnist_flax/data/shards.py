"""One array_record file of a TFDS data set, checked, decoded and cached."""

import hashlib
import io
import logging
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import platformdirs
from jaxtyping import Int32, UInt8
from PIL import Image

from mnist_flax.common.errors import UserError, require
from mnist_flax.common.files import write_atomically

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class Examples(NamedTuple):
    """Images with their labels, in the order in which TFDS stores them."""

    images: UInt8[np.ndarray, 'examples height width channels']
    labels: Int32[np.ndarray, 'examples']

    def slice(self, start: int | None, stop: int | None) -> 'Examples':
        """Returns the examples from ``start`` up to ``stop``, as Python slices do."""
        return Examples(self.images[start:stop], self.labels[start:stop])


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Joins examples in their order."""
    return Examples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def first_line(error: Exception) -> str:
    """Shortens what an error says, or names its type if it says nothing."""
    return str(error).strip().split('\n')[0] or type(error).__name__


def read_shard(
    path: pathlib.Path,
    num_examples: int,
    features: 'tfds.features.FeaturesDict',
    sha256: str | None,
) -> Examples:
    """Reads one file whole.

    Decoding the PNGs of MNIST takes about 5 s, so the arrays are kept in the user's
    cache directory under the file's SHA-256: another file can never be mistaken for it.

    Args:
      path: The array_record file.
      num_examples: How many examples it should hold.
      features: How TFDS encoded them.
      sha256: Hexadecimal checksum the file should have, if one is known.

    Returns:
      The decoded examples.

    Raises:
      UserError: The file is missing or damaged; the message names it.
    """
    digest = verify(path, sha256)
    # The version changes with `_decode`, so that arrays of an older one are not read.
    shape = 'x'.join(map(str, features['image'].shape))
    cached = platformdirs.user_cache_path('mnist_flax') / f'v1-{shape}-{digest}.npz'
    examples = _read_cache(cached)
    if examples is None:
        try:
            examples = _decode(path, features)
        except Exception as error:  # array_record, protobuf and PIL each have their own.
            reason = f'data file {path}: damaged ({first_line(error)})'
            raise UserError(reason) from error
        _write_cache(cached, examples)
    found = len(examples.labels)
    require(
        found == num_examples,
        f'data file {path}: damaged (it has {found} examples, not {num_examples})',
    )
    return examples


def verify(path: pathlib.Path, sha256: str | None) -> str:
    """Computes a file's SHA-256 and compares it with the one it should have, if known.

    Raises:
      UserError: The file cannot be read, or has another checksum.
    """
    try:
        with path.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise UserError(f'data file {path}: cannot be read ({error.strerror})') from error
    require(
        sha256 in (None, digest),
        f'data file {path}: damaged (its sha256 is {digest}, not {sha256})',
    )
    return digest


def _decode(path: pathlib.Path, features: 'tfds.features.FeaturesDict') -> Examples:
    import tensorflow_datasets as tfds
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    source = ArrayRecordDataSource(str(path))
    # Bulk reading and PIL: 5 s for MNIST, where TFDS's own loop over examples takes 20 s.
    height, width, _ = features['image'].shape
    decoders = {'image': tfds.decode.SkipDecoding()}
    images, labels = [], []
    for record in source.__getitems__(range(len(source))):
        example = features.deserialize_example_np(record, decoders=decoders)
        content = io.BytesIO(example['image'])
        # Only TFDS's formats, and the size that it says: a few bytes can claim to be
        # gigabytes of pixels.
        with Image.open(content, formats=('PNG', 'JPEG')) as image:
            require(
                image.size == (width, height),
                f'it has an image of {image.width}x{image.height} pixels',
            )
            images.append(np.asarray(image, np.uint8))
        labels.append(example['label'])
    return Examples(
        np.stack(images).reshape(-1, *features['image'].shape),
        np.asarray(labels, np.int32),
    )


def _read_cache(path: pathlib.Path) -> Examples | None:
    try:
        with np.load(path) as arrays:  # zip members carry a CRC, checked while reading
            return Examples(arrays['images'], arrays['labels'])
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile and NumPy raise a dozen types for a damaged file
        logging.warning('%s is damaged (%s); decoding the data again', path, error)
        return None


def _write_cache(path: pathlib.Path, examples: Examples) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, images=examples.images, labels=examples.labels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically({path: buffer.getvalue()})
    except OSError as error:
        logging.warning('cannot cache the decoded data: %s', error)
