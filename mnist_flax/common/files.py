"""Files that appear under their names only when they are complete, on disks with room."""

import errno
import os
import pathlib
import tempfile
from collections.abc import Mapping


def write_atomically(files: Mapping[pathlib.Path, bytes]) -> None:
    """Writes files under temporary names, then renames all of them.

    Args:
      files: Contents by final name; older files of those names are replaced.

    Raises:
      OSError: A file cannot be written; the older files are intact.
    """
    temporaries = {
        path: path.with_name(f'.{path.name}.{os.getpid()}.tmp') for path in files
    }
    try:
        for path, content in files.items():
            with temporaries[path].open('wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


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
