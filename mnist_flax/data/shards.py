"""One file of a TFDS data set, checked, decoded and cached."""

import hashlib
import io
import logging
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from mnist_flax.common import caches, waiting
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.files import write_atomically
from mnist_flax.data import records
from mnist_flax.data.decoding import decode_all

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_BYTES_AT_ONCE = 2**23  # of images that are decoded together


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
    file_format: str,
    num_examples: int,
    features: 'tfds.features.FeaturesDict',
    sha256: str | None,
) -> Examples:
    """Reads one file whole.

    Decoding the PNGs of MNIST takes seconds, so the arrays are kept in the user's cache
    directory under the file's SHA-256: another file can never be mistaken for it.

    Args:
      path: The file.
      file_format: One of `records.FORMATS`.
      num_examples: How many examples it should hold.
      features: How TFDS encoded them.
      sha256: Hexadecimal checksum the file should have, if one is known.

    Returns:
      The decoded examples.

    Raises:
      UserError: The file is missing or damaged, or a library to read it is; the message
        names the file.
    """
    digest = verify(path, sha256)
    # The version changes with `_decode`, so that arrays of an older one are not read.
    shape = 'x'.join(map(str, features['image'].shape))
    folder = caches.find_folder()
    cached = folder / f'v2-{shape}-{digest}.npz' if folder else None
    examples = _read_cache(cached) if cached else None
    if examples is None:
        waiting.say(f'decoding {path.name}, the first time only')
        try:
            examples = _decode(path, file_format, features)
        except UserError as error:
            raise UserError(f'data file {path}: {error}') from error
        except MemoryError:
            raise
        except Exception as error:  # array_record, protobuf and Pillow have their own
            reason = f'data file {path}: damaged ({first_line(error)})'
            raise UserError(reason) from error
        if cached:
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


def _decode(
    path: pathlib.Path, file_format: str, features: 'tfds.features.FeaturesDict'
) -> Examples:
    from tensorflow_datasets.proto import tf_example_pb2

    shape = features['image'].shape
    at_once = max(1, _BYTES_AT_ONCE // math.prod(shape))
    images, contents, labels = [], [], []
    for record in records.read(path, file_format):
        # Not by TFDS's own functions, which take 0.2 ms a record.
        feature = tf_example_pb2.Example.FromString(record).features.feature
        contents.append(feature['image'].bytes_list.value[0])
        labels.append(feature['label'].int64_list.value[0])
        if len(contents) == at_once:
            images.append(decode_all(contents, shape))
            contents = []
    if contents:
        images.append(decode_all(contents, shape))
    return Examples(np.concatenate(images), np.asarray(labels, np.int32))


def _read_cache(path: pathlib.Path) -> Examples | None:
    try:
        with np.load(path) as arrays:  # zip members carry a CRC, checked while reading
            return Examples(arrays['images'], arrays['labels'])
    except FileNotFoundError:
        return None
    except MemoryError:
        raise
    except Exception as error:  # zipfile and NumPy raise a dozen types for a damaged file
        logging.warning('%s is damaged (%s); decoding the data again', path, error)
        return None


def _write_cache(path: pathlib.Path, examples: Examples) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, images=examples.images, labels=examples.labels)
    try:
        write_atomically({path: buffer.getvalue()})
    except OSError as error:
        logging.warning('cannot cache the decoded data: %s', error)
