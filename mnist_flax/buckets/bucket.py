"""A folder of a bucket that fsspec knows, with the index of each start of a run there."""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mnist_flax.common.errors import UserError, require

_INDEX = '.index.json'  # hidden, and so no name of a run's file

# Folders of starts, such as 000001_2026-11-29_10-16-27_2a422179, in their order.
_START = re.compile(r'\d{6}_[\d_-]{19}_[0-9a-f]{8}')

# More than most runs write: what is in a folder without an index may be something else.
_MOST_BYTES = 20 * 2**30

# Where in the bucket's folder each file is, by its name in the workdir.
Files = dict[str, str]


class Bucket:
    """A folder of a bucket.

    Raises:
      UserError: In all methods: the bucket cannot be reached, read or written.
    """

    def __init__(self, address: str, flag: str = '--workdir'):
        self.address = address
        self.flag = flag
        with self._explain('reach'):
            import fsspec

            self._system, root = fsspec.url_to_fs(address)
            self._root = root.rstrip('/')
        require(
            '/' in self._root,
            f'{flag}: {address} is a whole bucket; name a folder in it',
        )

    def list_starts(self) -> list[str]:
        """Lists the folders of all starts, the first one first."""
        with self._explain('read'):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
            names = {path.rstrip('/').rpartition('/')[2] for path in found}
            return sorted(filter(_START.fullmatch, names))

    def read_index(self, start: str) -> Files | None:
        """Returns the files of a start; None until it has found those of earlier ones."""
        with self._explain('read'):
            try:
                text = self._system.cat_file(f'{self._root}/{start}/{_INDEX}')
            except FileNotFoundError:
                return None
            files = json.loads(text)['files']
            if files is None:
                return None
            for name in (*files.keys(), *files.values()):
                _check_name(name)
            return dict(files)

    def write_index(self, start: str, files: Files | None) -> None:
        """Writes what `read_index` returns."""
        with self._explain('write to'):
            text = json.dumps({'files': files})
            self._system.pipe_file(f'{self._root}/{start}/{_INDEX}', text.encode())

    def read_newest(self, before: str = '') -> Files:
        """Returns the files of the newest start that has any, or of the newest before one.

        Without an index, as in a folder that was copied there, they are all that is there.
        """
        for start in reversed(self.list_starts()):
            if not before or start < before:
                files = self.read_index(start)
                if files is not None:
                    return files
        with self._explain('read'):
            sizes = self._find()
            others = [name for name in sizes if not _START.match(name)]
            files = {_check_name(name): name for name in others}
        size = sum(sizes[name] for name in others)
        require(
            size <= _MOST_BYTES,
            f'{self.flag}: {self.address} holds {len(others):,} files of '
            f'{size / 2**30:.0f} GiB, and no index of a run; name another folder',
        )
        return files

    def list_keys(self) -> set[str]:
        """Lists the files that are there."""
        with self._explain('read'):
            return {*self._find()}

    def download(self, files: Mapping[str, str], folder: pathlib.Path) -> None:
        """Copies files into a folder of this machine, by their names."""
        with self._explain('read'):
            paths = [folder / _check_name(name) for name in files]
            for parent in {path.parent for path in paths}:
                parent.mkdir(parents=True, exist_ok=True)
            self._system.get(self._paths(files.values()), [str(path) for path in paths])

    def upload(self, names: Sequence[str], folder: pathlib.Path, prefix: str) -> None:
        """Copies files from a folder of this machine, each to ``prefix/name``."""
        with self._explain('write to'):
            keys = self._paths(f'{prefix}/{name}' for name in names)
            self._system.put([str(folder / name) for name in names], keys)

    def remove(self, keys: Iterable[str]) -> None:
        """Removes files, some of which may be absent."""
        with self._explain('write to'):
            for path in self._paths(keys):
                with contextlib.suppress(FileNotFoundError):
                    self._system.rm_file(path)

    def _find(self) -> dict[str, int]:
        """Returns the sizes of the files that are not hidden."""
        self._system.invalidate_cache()
        try:
            found = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        sizes = {
            path.removeprefix(f'{self._root}/'): about['size'] or 0
            for path, about in found.items()
        }
        return {
            name: size
            for name, size in sizes.items()
            # Object stores show a folder that was made by hand as an empty file.
            if name.strip('/') and not name.endswith('/')
            if not any(part.startswith('.') for part in name.split('/'))
        }

    def _paths(self, keys: Iterable[str]) -> list[str]:
        return [f'{self._root}/{key}' for key in keys]

    @contextlib.contextmanager
    def _explain(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of bucket has its own
            reason = ' '.join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f'{self.flag}: cannot {verb} {self.address} ({reason})'
            ) from error


def _check_name(name: str) -> str:
    """Returns the name of a file, unless it could be one outside of its folder.

    Raises:
      ValueError: It could.
    """
    parts = name.split('/')
    is_inside = not {'', '.', '..'} & {*parts} and '\\' not in name
    if not is_inside or (os.name == 'nt' and ':' in name):
        raise ValueError(f'it holds a file named {name!r}')
    return name
