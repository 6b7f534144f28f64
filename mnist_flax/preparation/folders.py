"""A folder with a folder of pictures for each class."""

import os
import pathlib
from collections.abc import Iterator

from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation.sources import Example, Options, Part, Source
from mnist_flax.recognition.pictures import SUFFIXES


def read(path: pathlib.Path, options: Options) -> Source:
    """Finds the pictures of each class, in all folders below the folder of the class.

    Folders ``train`` and ``test``, and others beside them, are splits that have the folders
    of the classes. Hidden files, and those that are no pictures by their suffixes, are left
    out.

    Raises:
      UserError: A folder cannot be read or holds no pictures, or there are fewer than two
        classes.
    """
    del options
    try:
        below = _list_folders(path)
        is_split = 'train' in below
        splits = below if is_split else {'': path}
        files = {
            split: {name: _list_pictures(of) for name, of in _list_folders(folder).items()}
            for split, folder in splits.items()
        }
    except OSError as error:
        raise UserError(
            f'{error.filename}: it cannot be read ({error.strerror})'
        ) from error
    class_names = tuple(sorted({name for of in files.values() for name in of}, key=_order))
    require(
        len(class_names) >= 2,
        f'{path}: it has {len(class_names)} folders; it must have one with pictures for '
        'each class, at least two, or folders train and test that have these',
    )
    for split, of in files.items():
        empty = [name for name, paths in of.items() if not paths]
        require(
            not empty,
            f'{path / split}: the folder {(empty or [""])[0]!r} holds no pictures; fill or '
            'remove it',
        )
    parts = {
        split or 'all': Part(sum(map(len, of.values())), _examples(of))
        for split, of in files.items()
    }
    return Source(parts, class_names)


def _list_folders(path: pathlib.Path) -> dict[str, pathlib.Path]:
    return {
        entry.name: entry
        for entry in sorted(path.iterdir())
        if entry.is_dir() and not entry.name.startswith(('.', '__'))
    }


def _list_pictures(folder: pathlib.Path) -> list[str]:
    def refuse(error: OSError) -> None:
        raise error

    return [
        os.path.join(place, name)
        for place, _, names in os.walk(folder, onerror=refuse)
        for name in sorted(names)
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    ]


def _order(name: str) -> tuple[bool, int, str]:
    """Sorts names that are numbers by their value: 9 before 10."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _examples(files: dict[str, list[str]]) -> Iterator[Example]:
    for name, paths in files.items():
        for path in paths:
            yield Example(path, path, name)
