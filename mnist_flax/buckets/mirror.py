"""A folder of a bucket, as a copy on this machine whose changes are copied back.

A bucket has neither locks nor renames. An index, written last, lists the files that are
whole, so that whoever is killed leaves what the last index says. It also names the process
that works there: when another one begins, this one writes no more.
"""

import contextlib
import json
import pathlib
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mnist_flax.common.errors import UserError

_INDEX = '.index.json'

_EVERY = 10.0  # seconds between two copies

# More than any run writes: what is in a folder without an index may be other things.
_MOST_BYTES = 20 * 2**30


class Index(NamedTuple):
    """What a bucket says of its files."""

    owner: str  # the process that works there
    files: list[str]  # those that are whole
    unfinished: list[str]  # which a process that was killed may have left in part


class Bucket:
    """A folder of a bucket, or of another place that fsspec knows.

    Raises:
      UserError: In all methods too: the bucket cannot be read, or not be written.
    """

    def __init__(self, address: str, flag: str = '--workdir'):
        self._address = address
        self._flag = flag
        with self._explain('reach'):
            import fsspec

            # Folders are made as needed, which buckets do by themselves.
            options = {'auto_mkdir': True} if address.startswith('file:') else {}
            self._system, root = fsspec.url_to_fs(address, **options)
            self._root = root.rstrip('/')
            if '/' not in self._root:
                raise ValueError('it is a whole bucket; name a folder in it')

    def read_index(self) -> Index:
        """Returns what the last index says.

        Without one, as of a folder that was copied there, all files are whole.
        """
        with self._explain('read'):
            with contextlib.suppress(FileNotFoundError):
                content = json.loads(self._system.cat_file(f'{self._root}/{_INDEX}'))
                index = Index(
                    content['owner'], [*content['files']], [*content['unfinished']]
                )
                if any('..' in name.split('/') for name in index.files):
                    raise ValueError('its index has names with ".."')
                return index
            return Index('', self._find(), [])

    def write_index(self, index: Index) -> None:
        """Writes what `read_index` returns."""
        with self._explain('write to'):
            content = json.dumps(index._asdict(), indent=1)
            self._system.pipe_file(f'{self._root}/{_INDEX}', content.encode())

    def list_whole(self) -> list[str]:
        """Lists the files that the index names and that are there."""
        index = self.read_index()
        with self._explain('read'):
            return sorted({*index.files} & {*self._find()})

    def download(self, names: Sequence[str], folder: pathlib.Path) -> None:
        """Copies files into a folder of this machine."""
        with self._explain('read'):
            paths = [folder / name for name in names]
            for parent in {path.parent for path in paths}:
                parent.mkdir(parents=True, exist_ok=True)
            self._system.get(self._paths(names), [str(path) for path in paths])

    def upload(self, names: Sequence[str], folder: pathlib.Path) -> None:
        """Copies files from a folder of this machine."""
        with self._explain('write to'):
            self._system.put([str(folder / name) for name in names], self._paths(names))

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, some of which may be absent."""
        with self._explain('write to'):
            for path in self._paths(names):
                with contextlib.suppress(FileNotFoundError):
                    self._system.rm_file(path)

    def _find(self) -> list[str]:
        """Lists the files that are not hidden."""
        self._system.invalidate_cache()
        try:
            found = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            return []
        names = [path.removeprefix(f'{self._root}/') for path in found]
        names = [name for name in names if not _is_hidden(name)]
        size = sum(of['size'] or 0 for of in found.values())
        if size > _MOST_BYTES:
            raise ValueError(f'{len(names):,} files of {size / 2**30:.0f} GiB are no run')
        return names

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [f'{self._root}/{name}' for name in names]

    @contextlib.contextmanager
    def _explain(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of bucket has its own
            reason = ' '.join(str(error).split())[:300] or type(error).__name__
            missing = isinstance(error, ImportError)
            advice = 'see that it exists and that you may read and write there'
            if missing:
                advice = "pip install 'mnist_flax[buckets]'"
            raise UserError(
                f'{self._flag}: cannot {verb} {self._address} ({reason}); {advice}'
            ) from error


@contextlib.contextmanager
def downloaded(address: str, start: str = '') -> Iterator[pathlib.Path]:
    """Copies a folder of a bucket to this machine, to be read there.

    Args:
      address: The folder, such as ``s3://bucket/run1``.
      start: Of the names of the files that are copied.

    Yields:
      The copy, which is removed at the end.

    Raises:
      UserError: The bucket cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix='mnist_flax_') as folder:
        bucket = Bucket(address)
        names = [name for name in bucket.list_whole() if name.startswith(start)]
        bucket.download(names, pathlib.Path(folder))
        yield pathlib.Path(folder)


@contextlib.contextmanager
def mirrored(
    address: str, flag: str = '--workdir', every: float = _EVERY
) -> Iterator[pathlib.Path]:
    """Copies a folder of a bucket to this machine, and what changes there back to it.

    Args:
      address: The folder, such as ``s3://bucket/run1``.
      flag: The flag that names it, for messages.
      every: Seconds between two copies back, by a thread of its own.

    Yields:
      The copy. At the end it is removed, unless it could not be copied back.

    Raises:
      UserError: The bucket cannot be read or written, or another process has begun to work
        there.
    """
    bucket = Bucket(address, flag)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='mnist_flax_'))
    mirror = _Mirror(bucket, address, flag, folder)
    try:
        mirror.start()
    except BaseException:
        shutil.rmtree(folder)
        raise
    ended = threading.Event()
    thread = threading.Thread(target=mirror.copy_until, args=(ended, every), daemon=True)
    thread.start()
    try:
        yield folder
    finally:
        ended.set()
        thread.join()
        try:
            mirror.copy()
        except UserError as error:
            raise UserError(f'{error}; what is not there yet is in {folder}') from error
        shutil.rmtree(folder)
        if mirror.has_copied:
            print(f'copied to {address}', flush=True)


class _Mirror:
    """What `mirrored` does in its thread, and at the start and the end."""

    def __init__(self, bucket: Bucket, address: str, flag: str, folder: pathlib.Path):
        self._bucket = bucket
        self._address = address
        self._flag = flag
        self._folder = folder
        self._owner = uuid.uuid4().hex
        self._copied: dict[str, tuple[int, ...]] = {}  # what the bucket has
        self._begun: set[str] = set()  # what it may have in part
        self.has_copied = False

    def start(self) -> None:
        """Copies from the bucket, and takes it over."""
        index = self._bucket.read_index()
        # Before they are read: who worked there until now removes no more of them.
        self._bucket.write_index(index._replace(owner=self._owner))
        self._bucket.download(self._bucket.list_whole(), self._folder)
        self._bucket.remove({*index.unfinished} - {*index.files})
        self._copied = self._list()

    def copy_until(self, ended: threading.Event, every: float) -> None:
        """Copies again and again."""
        told = False
        while not ended.wait(every):
            try:
                self.copy()
                told = False
            except UserError as error:
                if not told:  # once while it lasts
                    print(f'warning: {error}; trying on', file=sys.stderr, flush=True)
                told = True

    def copy(self) -> None:
        """Copies to the bucket what has changed.

        Raises:
          UserError: It cannot be written, or another process has begun to work there.
        """
        found = self._list()
        if found == self._copied:
            return
        self._check_owner()
        new, gone = {*found} - {*self._copied}, {*self._copied} - {*found}
        if new:
            self._begun |= new
            self._bucket.write_index(Index(self._owner, [*self._copied], [*self._begun]))
        try:
            self._bucket.upload([*new], self._folder)
            # One by one, as they were written: some are to be there before others.
            for name in sorted({*found} - new, key=lambda name: found[name]):
                if found[name] != self._copied[name]:
                    self._bucket.upload([name], self._folder)
        except UserError:
            if all((self._folder / name).exists() for name in found):
                raise
            return  # some were removed meanwhile; the next time is soon
        self._check_owner()
        if new or gone:
            left = (self._begun | gone) - {*found}
            self._bucket.write_index(Index(self._owner, [*found], [*left]))
            self._bucket.remove(left)
            self._begun.clear()
        self._copied = found
        self.has_copied = True

    def _check_owner(self) -> None:
        if self._bucket.read_index().owner != self._owner:
            # As when a folder is taken away, see `workdirs.check_lock`.
            (self._folder / '.lock').unlink(missing_ok=True)
            raise UserError(
                f'{self._flag}: another process has begun to work in {self._address}; '
                'this one writes no more there'
            )

    def _list(self) -> dict[str, tuple[int, ...]]:
        """Lists the files but for hidden ones, which are not complete, or locks."""
        found: dict[str, tuple[int, ...]] = {}
        for path in self._folder.rglob('*'):
            name = path.relative_to(self._folder).as_posix()
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not _is_hidden(name):
                    status = path.stat()
                    found[name] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return found


def _is_hidden(name: str) -> bool:
    return any(part.startswith('.') for part in name.split('/'))
