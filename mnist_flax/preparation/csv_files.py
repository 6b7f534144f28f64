"""CSV files with the pixels of a picture in each row, and its label."""

import csv
import gzip
import io
import math
import pathlib
import zlib
from collections.abc import Iterator

import numpy as np

from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation.sources import Example, Options, Part, Source, to_bytes


def read(path: pathlib.Path, options: Options) -> Source:
    """Reads a row for each picture.

    The first row names the columns. That of the labels is called 'label', or as
    ``options.label_key`` says; all others are pixels, row by row, from the top left.

    Raises:
      UserError: There is no such column, or the number of pixels does not say the shape.
    """
    rows = _rows(path)
    header = next(rows, [])
    num_rows = sum(1 for _ in rows)
    key = options.label_key or 'label'
    require(
        header.count(key) == 1,
        f'{path}: its first row must name the columns, one of them {key!r} (see '
        f'--label_key); it starts with {", ".join(header[:3])[:100]!r}',
    )
    num_pixels = len(header) - 1
    side = math.isqrt(num_pixels)
    shape = options.pixels_shape or (side, side)
    require(
        math.prod(shape) == num_pixels > 0,
        f'{path}: it has {num_pixels} columns of pixels, which are no picture of '
        f'{"x".join(map(str, shape))}; --pixels_shape=HxWxC says the shape',
    )
    examples = _examples(path, header.index(key), shape, options.white)
    return Source({'all': Part(num_rows, examples)})


def _examples(
    path: pathlib.Path, label_column: int, shape: tuple[int, ...], white: float
) -> Iterator[Example]:
    for number, row in enumerate(_rows(path)):
        if number == 0:  # the names of the columns
            continue
        name = f'{path.name}, picture {number}'
        require(
            len(row) == math.prod(shape) + 1,
            f'{name}: it has {len(row)} columns, not {math.prod(shape) + 1}',
        )
        label = row.pop(label_column).strip()  # of which kind, `classes` finds out
        try:
            pixels = np.array(row, np.float32).reshape(shape)
        except ValueError as error:
            raise UserError(f'{name}: {error}') from error
        yield Example(name, to_bytes(pixels, name, white), label)


def _rows(path: pathlib.Path) -> Iterator[list[str]]:
    try:
        zipped = path.suffix.lower() == '.gz'
        # A spreadsheet may start its file with a byte order mark.
        with (
            gzip.open(path) if zipped else path.open('rb') as raw,
            io.TextIOWrapper(raw, encoding='utf-8-sig', newline='') as file,
        ):
            yield from (row for row in csv.reader(file) if row)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path}: it cannot be read ({reason})') from error
