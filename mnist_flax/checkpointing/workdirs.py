"""A workdir: tried, locked and written by one process."""

import contextlib
import errno
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping

import filelock

from mnist_flax.common import addresses
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.files import make_folder, write_atomically
from mnist_flax.common.interrupts import Interrupted

CHECKPOINTS, MODEL = 'checkpoints', 'model'

_LOCK = '.lock'

# What a drive says that has no locks, such as some network drives, FUSE and Colab's Drive.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class BusyError(UserError):
    """Another process is working in a folder."""


_addresses: dict[pathlib.Path, str] = {}  # of the copies of buckets' folders
_held: dict[pathlib.Path, os.stat_result] = {}  # the locks of this process, by folder


def prepare(workdir: str, flag: str = '--workdir') -> pathlib.Path:
    """Creates the folder if need be, and checks that files can be written there.

    Args:
      workdir: The folder.
      flag: The flag that names it, for messages.

    Returns:
      Its absolute path.

    Raises:
      UserError: Files cannot be written there, or it is the address of a bucket.
    """
    addresses.require_local(workdir, flag)
    try:
        path = pathlib.Path(workdir).expanduser().absolute()
        make_folder(path)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, RuntimeError, ValueError) as error:  # no such user; a zero in it
        raise not_writable(flag, workdir, error) from error
    return path


@contextlib.contextmanager
def open_folder(workdir: str, flag: str = '--workdir') -> Iterator[pathlib.Path]:
    """Prepares a folder as `prepare` does; it may be in a bucket too.

    Args:
      workdir: The folder, or an address such as ``s3://bucket/run1``.
      flag: The flag that names it, for messages.

    Yields:
      Its path; of a bucket's that of a copy, whose changes are copied back.

    Raises:
      UserError: Files cannot be written there.
    """
    if not addresses.is_bucket(workdir):
        yield prepare(workdir, flag)
        return
    from mnist_flax.buckets import mirror  # which others need not wait for

    workdir = addresses.normalize(workdir)
    with mirror.mirrored(workdir, flag) as folder:
        _addresses[folder] = workdir
        try:
            yield folder
        except (UserError, Interrupted) as error:
            error.args = tuple(of.replace(str(folder), workdir) for of in error.args)
            raise
        finally:
            del _addresses[folder]


@contextlib.contextmanager
def open_to_read(workdir: str, *wanted: str) -> Iterator[pathlib.Path]:
    """Yields a folder that has the wanted files and folders, if they exist.

    Raises:
      UserError: It is in a bucket that cannot be read.
    """
    if not addresses.is_bucket(workdir):
        yield pathlib.Path(workdir)
        return
    from mnist_flax.buckets import mirror

    with mirror.downloaded(workdir, wanted) as folder:
        try:
            yield folder
        except UserError as error:
            raise UserError(str(error).replace(str(folder), workdir)) from error


def show(path: pathlib.Path) -> str:
    """Names a path as the user has, if it is in the copy of a folder in a bucket."""
    for folder, address in _addresses.items():
        if path.is_relative_to(folder):
            return str(path).replace(str(folder), address)
    return str(path)


@contextlib.contextmanager
def lock(
    folder: pathlib.Path, timeout: float = 0.0, is_shared: bool = False
) -> Iterator[None]:
    """Keeps other processes from working in the folder, as long as this one lives.

    Where the drive has no locks, it only warns.

    Args:
      folder: The folder.
      timeout: How many seconds to wait for another process.
      is_shared: Whether others are expected there, so that there must be locks.

    Raises:
      BusyError: Another process is working there.
      UserError: No file can be made there, or not be locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Not through a link, which in a folder from elsewhere can lead anywhere;
            # filelock takes care of that.
            stack.enter_context(
                filelock.FileLock(folder / _LOCK, timeout=timeout, mode=0o666)
            )
            _held[folder] = (folder / _LOCK).stat()
        except filelock.Timeout as error:
            raise BusyError(
                f'--workdir: another process is working in {folder}; wait until it has '
                'ended, or use another folder'
            ) from error
        except (OSError, NotImplementedError) as error:
            if getattr(error, 'errno', errno.ENOSYS) not in _NO_LOCKS:
                raise not_writable('--workdir', f'{folder}/{_LOCK}', error) from error
            require(
                not is_shared,
                f'--workdir: files cannot be locked in {folder}, which keeps workers from '
                'training the same runs; use a drive with locks (NFS 4, Lustre with '
                '-o flock), or a single process',
            )
            print(
                f'warning: --workdir: files cannot be locked in {folder}; make sure that '
                'no other process works there',
                file=sys.stderr,
                flush=True,
            )
        stack.callback(_held.pop, folder, None)
        yield


def check_lock(folder: pathlib.Path) -> None:
    """Checks that a folder is still in the one that this process has locked, if any.

    Raises:
      UserError: That was removed, and perhaps made anew by another process.
    """
    held = [of for of in (folder, *folder.parents) if of in _held]
    if not held:
        return
    folder = held[0]
    try:
        is_ours = os.path.samestat(_held[folder], (folder / _LOCK).stat())
    except OSError:
        is_ours = False
    require(
        is_ours,
        f'--workdir: {folder} was removed or replaced while this process was working in '
        'it; it writes no more, since another process may be working there now',
    )


def write(
    folder: pathlib.Path, files: Mapping[str, bytes], flag: str = '--workdir'
) -> None:
    """Writes files into the folder; none appears before all are complete.

    Args:
      folder: The folder.
      files: Contents by name.
      flag: The flag that names the folder, for messages.

    Raises:
      UserError: A file cannot be written, or the folder is no longer the one that was
        locked.
    """
    check_lock(folder)
    try:
        contents = {folder / name: content for name, content in files.items()}
        write_atomically(contents, alone=folder in _held)
    except OSError as error:
        raise not_writable(flag, str(folder), error) from error


def not_writable(flag: str, folder: str, error: Exception) -> UserError:
    """Says that a folder cannot be written to, and why."""
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(
        f'{flag}: cannot write to {folder!r} ({reason}); use a folder where files can be '
        'created'
    )
