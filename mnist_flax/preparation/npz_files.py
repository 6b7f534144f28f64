"""NPZ files of NumPy arrays, such as Keras's ``mnist.npz``."""

import pathlib
import zipfile

import numpy as np

from mnist_flax.common import memory
from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation.sources import Options, Part, Source, from_arrays

# Names of the arrays of pictures and of labels, in Keras's files and in others.
_USUAL = (
    ('x_{split}', 'y_{split}'),
    ('{split}_images', '{split}_labels'),
    ('images', 'labels'),
    ('x', 'y'),
)
_SPLITS = ('train', 'validation', 'val', 'test')


def read(path: pathlib.Path, options: Options) -> Source:
    """Reads the arrays of pictures and of labels.

    ``options.image_key`` and ``label_key`` name them, with ``{split}`` where 'train' and
    'test' stand.

    Raises:
      UserError: The file is damaged, or has no such arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
        require(
            size <= memory.count_bytes() // 4,
            f'{path}: its arrays have {size / 1e9:.0f} GB; that does not fit in memory',
        )
        with np.load(path) as arrays:
            keys = _find_keys(list(arrays), options, path)
            return Source(
                {
                    split: Part(
                        *from_arrays(
                            arrays[image_key], arrays[label_key], path.name, options.white
                        )
                    )
                    for split, (image_key, label_key) in keys.items()
                }
            )
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy raise a dozen types for a damaged file
        reason = ' '.join(str(error).split())[:200]
        if 'allow_pickle' in reason:
            reason = 'it holds Python objects, which are not safe to load'
        raise UserError(f'{path}: it cannot be read ({reason})') from error


def _find_keys(
    found: list[str], options: Options, path: pathlib.Path
) -> dict[str, tuple[str, str]]:
    own = (options.image_key, options.label_key)
    for image_key, label_key in (own,) if any(own) else _USUAL:
        has_splits = '{split}' in image_key
        keys = {
            split: (
                image_key.replace('{split}', split),
                label_key.replace('{split}', split),
            )
            for split in (_SPLITS if has_splits else ('all',))
        }
        alone = [key for of in keys.values() for key in of if len({*of} & {*found}) == 1]
        alone = [key for key in alone if key in found]
        keys = {split: of for split, of in keys.items() if {*of} <= {*found}}
        if keys:
            require(
                not alone,
                f'{path}: of pictures and labels only {", ".join(alone)} is there',
            )
            return keys
    raise UserError(
        f'{path}: it holds the arrays {", ".join(found) or "none"}; name those of the '
        "pictures and labels by --image_key and --label_key, such as 'x_{split}' and "
        "'y_{split}'"
    )
