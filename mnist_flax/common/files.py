"""Files that appear under their names only when they are complete and on the disk.

Without `fsync` a power cut can leave a new name on the disk, and not what is behind it.
"""

import contextlib
import errno
import glob
import os
import pathlib
import tempfile
from collections.abc import Mapping

_NO_SYNC_OF_FOLDERS = (
    errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP
)  # fmt: skip


def write_atomically(files: Mapping[pathlib.Path, bytes], alone: bool = False) -> None:
    """Writes files under temporary names, then renames all of them.

    When it returns, names and contents are on the disk.

    Args:
      files: Contents by final name; older files of those names are replaced.
      alone: Whether no other process writes them; what one that was killed has left of
        them is then removed.

    Raises:
      OSError: A file cannot be written; the older files are intact.
    """
    temporaries = {
        path: path.with_name(f'.{path.name}.{os.getpid()}.tmp') for path in files
    }
    for path in files if alone else ():
        for left in path.parent.glob(f'.{glob.escape(path.name)}.*.tmp'):
            with contextlib.suppress(OSError):
                left.unlink()
    try:
        for path, content in files.items():
            temporaries[path].write_bytes(content)
            sync(temporaries[path])
        for path, temporary in temporaries.items():
            temporary.replace(path)
        for folder in {path.parent for path in files}:
            sync(folder)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def sync(path: pathlib.Path) -> None:
    """Waits until a file's contents, or the names in a folder, are on the disk.

    Args:
      path: A file that may be written to, or a folder.

    Raises:
      OSError: The disk cannot write them.
    """
    is_folder = path.is_dir()
    try:
        # Windows takes only what is open for writing.
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Windows opens no folder, and some network drives do not wait for one.
        if not (is_folder and error.errno in _NO_SYNC_OF_FOLDERS):
            raise


def sync_tree(folder: pathlib.Path) -> None:
    """Waits until all that is in a folder is on the disk.

    Raises:
      OSError: The disk cannot write it.
    """
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(pathlib.Path(path, name))
        sync(pathlib.Path(path))


def make_folder(path: pathlib.Path) -> None:
    """Makes a folder, and those above it, unless they are there; then they are on the disk.

    Raises:
      OSError: One of them cannot be made.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in (path, *missing):  # a process may have been killed before this line
        sync(folder.parent)


def check_disk_space(folder: pathlib.Path, size: int) -> None:
    """Checks that a disk has room, by reserving it for a moment.

    Nothing is checked where room cannot be reserved (macOS, some network drives).

    Args:
      folder: A folder on the disk.
      size: In bytes.

    Raises:
      OSError: The disk, the user's quota or the limit of a file's size is too small, or
        no file can be created there.
    """
    if not hasattr(os, 'posix_fallocate'):
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
