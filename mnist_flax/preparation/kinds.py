"""Which of the readers a folder or file needs."""

import pathlib
from collections.abc import Callable

from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation import csv_files, folders, idx_files, npz_files, parquet
from mnist_flax.preparation.sources import Options, Source


def read(path: pathlib.Path, options: Options) -> Source:
    """Opens a folder or file of labelled pictures.

    Args:
      path: A folder with a folder for each class, or with IDX or parquet files; or an IDX,
        NPZ, CSV or parquet file.
      options: What the files do not say.

    Raises:
      UserError: It does not exist, is none of these, or cannot be read.
    """
    require(path.exists(), f'{path}: there is no such file or folder')
    return _find_reader(path)(path, options)


def _find_reader(path: pathlib.Path) -> Callable[[pathlib.Path, Options], Source]:
    if path.is_dir():
        try:
            names = [entry.name for entry in path.iterdir()]
        except OSError as error:
            raise UserError(f'{path}: it cannot be read ({error.strerror})') from error
        if any(map(idx_files.is_idx, names)):
            return idx_files.read
        if any(any(path.glob(place)) for place in parquet.PLACES):
            return parquet.read
        return folders.read
    readers = {'.npz': npz_files.read, '.csv': csv_files.read, '.parquet': parquet.read}
    if path.suffix.lower() in readers:
        return readers[path.suffix.lower()]
    if path.name.lower().endswith('.csv.gz'):
        return csv_files.read
    if idx_files.is_idx(path.name):
        return idx_files.read
    raise UserError(
        f'{path}: it is none of the known kinds: a folder with a folder for each class, '
        'IDX files (named like train-images-idx3-ubyte.gz), .npz, .csv or .parquet'
    )
