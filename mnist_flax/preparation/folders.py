"""A folder with a folder of pictures for each class."""

import os
import pathlib
from collections import Counter
from collections.abc import Iterator

from mnist_flax.common.errors import UserError, require
from mnist_flax.preparation.sources import Example, Options, Part, Source
from mnist_flax.preparation.splits import SPLITS
from mnist_flax.recognition.pictures import SUFFIXES


def read(path: pathlib.Path, options: Options) -> Source:
    """Finds the pictures of each class, in all folders below the folder of the class.

    Folders that are named like splits, such as ``train`` and ``test``, have the folders of
    the classes. Hidden files are left out; those that are no pictures by their suffixes
    too, and pictures beside the folders, which the note of the source says.

    Raises:
      UserError: A folder cannot be read or holds no pictures, or there are fewer than two
        classes.
    """
    del options
    skipped: Counter[str] = Counter()
    try:
        below = _list_folders(path)
        num_beside = _count_pictures(path)
        splits = _find_splits(path, below)
        files = {
            split: {
                name: _list_pictures(of, skipped)
                for name, of in _list_folders(folder).items()
            }
            for split, folder in (splits or {'all': path}).items()
        }
    except OSError as error:
        raise UserError(
            f'{error.filename}: it cannot be read ({error.strerror})'
        ) from error
    class_names = tuple(sorted({name for of in files.values() for name in of}, key=_order))
    require(
        len(class_names) >= 2,
        f'{path}: it has {len(class_names)} folders of classes; it must have one with '
        'pictures for each class, at least two, or folders train and test that have these',
    )
    for split, of in files.items():
        empty = [name for name, paths in of.items() if not paths]
        require(
            not empty,
            f'{path}: the folder {(empty or [""])[0]!r} of {split!r} holds no pictures; '
            'fill or remove it',
        )
    parts = {
        split: Part(sum(map(len, of.values())), _examples(of))
        for split, of in files.items()
    }
    return Source(parts, class_names, _describe_skipped(skipped, num_beside))


def _find_splits(
    path: pathlib.Path, below: dict[str, pathlib.Path]
) -> dict[str, pathlib.Path]:
    """Finds the folders that are splits; none if all are classes."""
    named = {name: SPLITS[name.lower()] for name in below if name.lower() in SPLITS}
    direct = [name for name in named if _count_pictures(below[name])]
    if not named or (direct and len(named) < len(below)):
        return {}  # such as a class of trains
    others = [name for name in below if name not in named]
    require(
        not direct and not others and len({*named.values()}) == len(named),
        f'{path}: its folders {", ".join(below)} are neither all splits, with a folder for '
        'each class in each, nor all classes',
    )
    return {split: below[name] for name, split in named.items()}


def _count_pictures(folder: pathlib.Path) -> int:
    """Counts those that are directly in a folder."""
    return sum(_is_picture(entry.name) for entry in folder.iterdir() if entry.is_file())


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith('.')


def _list_folders(path: pathlib.Path) -> dict[str, pathlib.Path]:
    return {
        entry.name: entry
        for entry in sorted(path.iterdir())
        if entry.is_dir() and not entry.name.startswith(('.', '__'))
    }


def _list_pictures(folder: pathlib.Path, skipped: Counter[str]) -> list[str]:
    """Lists the pictures below a folder, and counts other files by their suffixes."""

    def refuse(error: OSError) -> None:
        raise error

    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders.sort()
        if os.path.realpath(place) in seen:  # a link that leads round in a circle
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        found += [os.path.join(place, name) for name in sorted(names) if _is_picture(name)]
        skipped.update(
            pathlib.Path(name).suffix.lower() or 'no suffix'
            for name in names
            if not _is_picture(name) and not name.startswith('.')
        )
    return found


def _describe_skipped(skipped: Counter[str], num_beside: int) -> str:
    notes = []
    if skipped:
        kinds = ', '.join(f'{count} of {kind}' for kind, count in skipped.most_common(5))
        notes.append(f'files that are no pictures of a known kind were left out: {kinds}')
    if num_beside:
        notes.append(f'pictures beside the folders were left out: {num_beside}')
    return '; '.join(notes)


def _order(name: str) -> tuple[bool, int, str]:
    """Sorts names that are numbers by their value: 9 before 10."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _examples(files: dict[str, list[str]]) -> Iterator[Example]:
    for name, paths in files.items():
        for path in paths:
            yield Example(path, path, name)
