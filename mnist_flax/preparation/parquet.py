"""Parquet files with a column of encoded pictures and one of labels, as on Hugging Face."""

import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
from pyarrow import parquet

from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation.sources import Example, Options, Part, Source

# Where the files are in a folder.
PLACES = ('*.parquet', 'data/*.parquet', '*/*.parquet', '*/*/*.parquet')


def read(path: pathlib.Path, options: Options) -> Source:
    """Reads the parquet files of a folder, or of its folder ``data``, or a single one.

    The names of files start with those of their splits: ``train-00000-of-00001.parquet``.
    The columns are ``image`` and ``label``, or as the options say.

    Raises:
      UserError: A file is damaged, has no such columns, or has other classes than another.
    """
    paths = [path]
    if path.is_dir():
        paths = next(filter(None, (sorted(path.glob(of)) for of in PLACES)), [])
    keys = (options.image_key or 'image', options.label_key or 'label')
    by_split: dict[str, list[pathlib.Path]] = {}
    for each in paths:
        # Of train/0000.parquet the folder is named like the split.
        name = each.name if each.stem[0].isalpha() else each.parent.name
        split = re.split(r'[-.]', name)[0] if len(paths) > 1 else 'all'
        by_split.setdefault(split, []).append(each)
    parts, class_names, first = {}, None, path
    for split, files in by_split.items():
        size = 0
        for file in files:
            opened = _open(file)
            columns = opened.schema_arrow.names
            require(
                {*keys} <= {*columns},
                f'{file}: it has the columns {", ".join(columns)}; name those of the '
                'pictures and labels by --image_key and --label_key',
            )
            size += opened.metadata.num_rows
            names = _class_names(opened.schema_arrow, keys[1])
            if class_names is None:
                class_names, first = names, file
            # Of another data set beside it a label would get the wrong name.
            require(
                names in (None, class_names),
                f'{file}: its classes are {", ".join(names or ())[:100]}, but those of '
                f'{first} are {", ".join(class_names or ())[:100]}; prepare each by itself',
            )
        parts[split] = Part(size, _examples(files, keys, class_names))
    return Source(parts, class_names)


def _open(path: pathlib.Path) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).split('\n')[0][:200]
        raise UserError(f'{path}: it cannot be read ({reason})') from error


def _class_names(schema: pyarrow.Schema, key: str) -> tuple[str, ...] | None:
    """Finds the names of the classes, as Hugging Face's library writes them."""
    try:
        about = json.loads((schema.metadata or {})[b'huggingface'])
        return tuple(map(str, about['info']['features'][key]['names']))
    except (KeyError, TypeError, ValueError):
        return None


def _examples(
    paths: Sequence[pathlib.Path],
    keys: tuple[str, str],
    class_names: tuple[str, ...] | None,
) -> Iterator[Example]:
    for path in paths:
        number = 0
        try:
            for batch in _open(path).iter_batches(256, columns=list(keys)):
                images, labels = (batch[key].to_pylist() for key in keys)
                for image, label in zip(images, labels, strict=True):
                    number += 1
                    name = f'{path.name}, row {number}'
                    content: Any = image.get('bytes') if isinstance(image, dict) else image
                    if isinstance(label, float) and label.is_integer():
                        label = int(label)
                    require(
                        isinstance(content, bytes) and isinstance(label, int | str),
                        f'{name}: it must have the bytes of a picture, and a number or '
                        'name as its label',
                    )
                    if class_names and isinstance(label, int):
                        require(
                            0 <= label < len(class_names),
                            f'{name}: its label is {label}; allowed: 0 to '
                            f'{len(class_names) - 1}',
                        )
                        label = class_names[label]
                    yield Example(name, content, label)
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f'{path}: it cannot be read ({error})') from error
