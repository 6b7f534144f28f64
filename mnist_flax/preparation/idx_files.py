"""IDX, the form in which MNIST was published: http://yann.lecun.com/exdb/mnist."""

import gzip
import math
import pathlib
import re
import zlib

import numpy as np

from mnist_flax.common import memory
from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation.sources import Options, Part, Source, from_arrays

_NAME = re.compile(r'(images|labels)[-.]idx\d(-ubyte)?(\.gz)?$')
_BYTES = 0x08  # the code of unsigned bytes


def is_idx(name: str) -> bool:
    """Tells whether a file of this name holds pictures or labels in IDX."""
    return bool(_NAME.search(name))


def read(path: pathlib.Path, options: Options) -> Source:
    """Reads the IDX files of a folder, or one of pictures and the labels beside it.

    ``t10k-images-idx3-ubyte.gz`` or ``test-images…`` are the test images, with the labels
    in ``t10k-labels-idx1-ubyte.gz``; likewise ``train-…``.

    Raises:
      UserError: A file is missing or damaged, or holds another kind of data.
    """
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    chosen = [each for each in paths if is_idx(each.name) and 'images' in each.name]
    require(
        bool(chosen),
        f'{path}: it holds labels; the pictures must be beside them, in a file named like '
        'train-images-idx3-ubyte.gz',
    )
    parts: dict[str, Part] = {}
    note = ''
    for images_path in chosen:
        split = _split_of(images_path.name) if len(chosen) > 1 else 'all'
        require(
            split not in parts,
            f'{images_path}: there are several files of {split} images in the folder; name '
            'a folder with one of each',
        )
        labels_path = _find_labels(images_path)
        images, labels = _read_array(images_path), _read_array(labels_path)
        if 'emnist' in images_path.name.lower() and images.ndim == 3:
            images = images.swapaxes(1, 2)
            note = 'EMNIST is published transposed; its images are turned upright'
        name = images_path.name
        parts[split] = Part(*from_arrays(images, labels, name, options.white))
    return Source(parts, note=note)


def _split_of(name: str) -> str:
    return 'test' if re.search('t10k|test', name) else 'train'


def _find_labels(path: pathlib.Path) -> pathlib.Path:
    stem = re.sub(r'\.gz$', '', path.name)
    stem = re.sub(r'idx\d', 'idx1', stem.replace('images', 'labels'))
    for name in (stem, f'{stem}.gz'):
        if path.with_name(name).exists():
            return path.with_name(name)
    raise UserError(f'{path}: the labels {stem} or {stem}.gz are not beside it')


def _read_array(path: pathlib.Path) -> np.ndarray:
    try:
        with path.open('rb') as raw:
            zipped = raw.read(2) == b'\x1f\x8b'
        with gzip.open(path) if zipped else path.open('rb') as file:
            start = file.read(4)
            require(
                len(start) == 4 and start[:3] == bytes([0, 0, _BYTES]) and start[3] > 0,
                f'{path}: it is not an IDX file of bytes',
            )
            sizes = file.read(4 * start[3])
            require(len(sizes) == 4 * start[3] <= 32, f'{path}: its header is damaged')
            shape = tuple(np.frombuffer(sizes, '>u4').tolist())
            size = math.prod(shape)
            # A few bytes can claim to be terabytes.
            require(
                size <= memory.count_bytes() // 4,
                f'{path}: it says that it holds {size / 1e9:,.0f} GB, which does not fit '
                'in memory; perhaps its header is damaged',
            )
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path}: it cannot be read ({reason})') from error
    require(
        len(content) == size,
        f'{path}: it is damaged; it should hold {size:,} bytes of data, and holds '
        f'{"more" if len(content) > size else f"{len(content):,}"}',
    )
    return np.frombuffer(content, np.uint8).reshape(shape)
