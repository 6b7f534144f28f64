"""A folder of a bucket, or of another place that fsspec knows, with its indices."""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mnist_flax.common.errors import UserError, require

_OWNER, _INDEX = 'current.json', 'index.json'

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

            # Folders are made as needed, which buckets do by themselves.
            is_local = address.startswith(('file:', 'local:'))
            options = {'auto_mkdir': True} if is_local else {}
            self._system, root = fsspec.url_to_fs(address, **options)
            self._root = root.rstrip('/')
        require(
            '/' in self._root,
            f'{flag}: {address} is a whole bucket; name a folder in it',
        )

    def read_owner(self) -> str:
        """Returns which process works there; '' if none ever has."""
        content = self._read_json(_OWNER)
        with self._explain('read'):
            owner = '' if content is None else content['owner']
            if not re.fullmatch(r'[\w-]*', owner):
                raise ValueError(f'{_OWNER} names {owner!r}')
            return owner

    def write_owner(self, owner: str) -> None:
        """Says which process works there."""
        self._write_json(_OWNER, {'owner': owner})

    def read_index(self) -> tuple[str, Files]:
        """Returns which process works there, and its files.

        Without an index, as of a folder that was copied there, they are all that is there.
        """
        if owner := self.read_owner():
            return owner, self.read_files(owner)
        with self._explain('read'):
            sizes = self._find()
        size = sum(sizes.values())
        require(
            size <= _MOST_BYTES,
            f'{self.flag}: {self.address} holds {len(sizes):,} files of '
            f'{size / 2**30:.0f} GiB, and no index of a run; name another folder',
        )
        with self._explain('read'):
            return '', {_check_name(name): name for name in sizes}

    def read_files(self, owner: str) -> Files:
        """Returns the files that a process has written or found there."""
        content = self._read_json(f'{owner}/{_INDEX}')
        with self._explain('read'):
            if content is None:
                raise FileNotFoundError(f'there is no {owner}/{_INDEX}')
            files = dict(content['files'])
            for name in (*files.keys(), *files.values()):
                _check_name(name)
            return files

    def write_index(self, owner: str, files: Files) -> None:
        """Writes what `read_files` returns."""
        self._write_json(f'{owner}/{_INDEX}', {'files': files})

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

    def _read_json(self, key: str) -> Any:
        with self._explain('read'):
            try:
                return json.loads(self._system.cat_file(f'{self._root}/{key}'))
            except FileNotFoundError:
                return None

    def _write_json(self, key: str, content: Any) -> None:
        with self._explain('write to'):
            text = json.dumps(content, indent=1)
            self._system.pipe_file(f'{self._root}/{key}', text.encode())

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
