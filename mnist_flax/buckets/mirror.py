"""A folder of a bucket, as a copy on this machine whose changes are copied back.

A bucket has neither locks nor renames. So each process that starts there has a numbered
folder of its own in it, and writes and removes nothing elsewhere. It first makes its
folder, then reads the index of the one before. That one looks for later folders each time
after it has written its index: either its index was read, or it sees that it is no longer
the one to write.
"""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterator

from mnist_flax.buckets.bucket import Bucket, Files
from mnist_flax.common.errors import UserError, require

_SECONDS_BETWEEN = 10.0  # two copies

_CHECKPOINTS = 'checkpoints'

# When a file was changed, its size and its number on the disk.
_Status = tuple[int, int, int]


@contextlib.contextmanager
def downloaded(address: str, wanted: Collection[str]) -> Iterator[pathlib.Path]:
    """Copies some of a folder of a bucket to this machine, to be read there.

    Args:
      address: The folder, such as ``s3://bucket/run1``.
      wanted: Names of the files, and of folders whose files are copied.

    Yields:
      The copy, which is removed at the end.

    Raises:
      UserError: The bucket cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix='mnist_flax_') as folder:
        bucket = Bucket(address)
        files = bucket.read_newest()
        starts = tuple(f'{name}/' for name in wanted)
        chosen = {
            name: key
            for name, key in files.items()
            if name in wanted or name.startswith(starts)
        }
        bucket.download(chosen, pathlib.Path(folder))
        yield pathlib.Path(folder)


@contextlib.contextmanager
def mirrored(
    address: str, flag: str = '--workdir', seconds_between: float = _SECONDS_BETWEEN
) -> Iterator[pathlib.Path]:
    """Copies a folder of a bucket to this machine, and what changes there back to it.

    Args:
      address: The folder, such as ``s3://bucket/run1``.
      flag: The flag that names it, for messages.
      seconds_between: Two copies back, by a thread of its own.

    Yields:
      The copy. At the end it is removed, unless it could not be copied back.

    Raises:
      UserError: The bucket cannot be read or written, or another process has begun to work
        there.
    """
    bucket = Bucket(address, flag)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='mnist_flax_'))
    try:
        mirror = _Mirror(bucket, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    ended = threading.Event()
    arguments = ended, seconds_between
    thread = threading.Thread(target=mirror.copy_until, args=arguments, daemon=True)
    thread.start()

    def finish() -> None:
        ended.set()
        thread.join()
        mirror.copy_all()
        shutil.rmtree(folder, ignore_errors=True)

    try:
        yield folder
    except BaseException:
        try:
            finish()
        except Exception as error:  # which must not take the place of what was raised
            _say(f'warning: {error}', is_error=True)
        raise
    finish()


class _Mirror:
    """A folder of this machine, of whose files a bucket has copies."""

    def __init__(self, bucket: Bucket, folder: pathlib.Path):
        """Takes the bucket's folder over, and copies its files to the machine's."""
        self._bucket = bucket
        self._folder = folder
        self._mark = folder / '.copy'  # gone if the folder has been removed, or emptied
        self._mark.touch()
        now = time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime())
        number = max((int(start[:6]) for start in bucket.list_starts()), default=0) + 1
        self._start = f'{number:06d}_{now}_{uuid.uuid4().hex[:8]}'
        bucket.write_index(self._start, None)
        # From now on who is before says of nothing more that it was copied.
        files = bucket.read_newest(before=self._start)
        there = bucket.list_keys()
        self._files: Files = {name: key for name, key in files.items() if key in there}
        if lost := files.keys() - self._files.keys():
            _say(
                f'warning: {bucket.flag}: {bucket.address} lacks {len(lost)} files that '
                f'its index names, such as {min(lost)}',
                is_error=True,
            )
        bucket.download(self._files, folder)
        self._require_newest()
        bucket.write_index(self._start, self._files)
        self._copied = self._list()  # what the bucket has
        self._missing: set[str] = set()  # what the last listing lacked of that

    def copy_until(self, ended: threading.Event, seconds_between: float) -> None:
        """Copies again and again."""
        has_warned = False
        while not ended.wait(seconds_between):
            try:
                self.copy()
                has_warned = False
            except Exception as error:  # the next time may be a better one
                if not has_warned:
                    _say(f'warning: {error}', is_error=True)
                has_warned = True

    def copy_all(self) -> None:
        """Copies until nothing is left.

        Raises:
          UserError: As `copy`, with the folder that has what is not copied.
        """
        if self._list() == self._copied:
            return
        where = f'{self._bucket.address}/{self._start}'
        _say(f'copying {self._folder} to {where}')
        try:
            while not self.copy():
                time.sleep(0.1)
        except UserError as error:
            raise UserError(
                f'{error}; what is not there yet is in {self._folder}'
            ) from error
        _say(f'copied to {where}')

    def copy(self) -> bool:
        """Copies to the bucket what has changed, and tells whether that was all.

        Raises:
          UserError: It cannot be written, or another process has begun to work there.
        """
        found = self._list()
        missing = {*self._copied} - {*found}
        # Between two renames a folder is missing for a moment.
        gone = missing & self._missing
        self._missing = missing
        new = {*found} - {*self._copied}
        replaced = {name for name in {*found} - new if found[name] != self._copied[name]}
        if new or replaced or gone:
            self._require_newest()
            try:
                self._bucket.upload(sorted(new), self._folder, self._start)
                # One by one, as they were written: some are to be there before others.
                for name in sorted(replaced, key=lambda name: found[name]):
                    self._bucket.upload([name], self._folder, self._start)
            except UserError:
                if all((self._folder / name).exists() for name in new | replaced):
                    raise
                return False  # the program has removed some meanwhile
            self._publish(new | replaced, gone)
            lasting = {name: self._copied[name] for name in missing - gone}
            self._copied = {**found, **lasting}
        return not missing - gone

    def _publish(self, uploaded: set[str], gone: set[str]) -> None:
        """Writes the index, and then removes old checkpoints."""
        before = self._files
        files = {name: key for name, key in before.items() if name not in gone}
        files |= {name: f'{self._start}/{name}' for name in uploaded}
        if files != before:
            self._bucket.write_index(self._start, files)
            self._files = files
        self._require_newest()
        left = {*before.values()} - {*files.values()}
        self._bucket.remove(
            key for key in left if key.startswith(f'{self._start}/{_CHECKPOINTS}/')
        )

    def _require_newest(self) -> None:
        """Checks that nobody has started after this process.

        Raises:
          UserError: Somebody has.
        """
        if any(start > self._start for start in self._bucket.list_starts()):
            # As when a folder is taken away, see `workdirs.check_lock`.
            (self._folder / '.lock').unlink(missing_ok=True)
            raise UserError(
                f'{self._bucket.flag}: another process has begun to work in '
                f'{self._bucket.address}; this one writes no more there'
            )

    def _list(self) -> dict[str, _Status]:
        """Lists the files, but for hidden ones, which are locks or not complete."""
        found = self._walk()
        for _ in range(20):  # until nothing is written meanwhile
            before, found = found, self._walk()
            if found == before:
                break
        return found

    def _walk(self) -> dict[str, _Status]:
        found = {}
        for folder, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.startswith('.')]
            for name in names:
                path = pathlib.Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    if not name.startswith('.') and path.is_file():
                        status = path.stat()
                        found[path.relative_to(self._folder).as_posix()] = (
                            status.st_mtime_ns,
                            status.st_size,
                            status.st_ino,
                        )
        # At the end: whatever was removed before would look empty.
        require(
            self._mark.exists(),
            f'{self._bucket.flag}: {self._folder}, the copy of {self._bucket.address}, was '
            'removed; start again, on a disk that is not cleaned meanwhile (see TMPDIR)',
        )
        return found


def _say(line: str, is_error: bool = False) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        print(line, file=sys.stderr if is_error else sys.stdout, flush=True)
