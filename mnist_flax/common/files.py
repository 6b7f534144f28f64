"""Files appear under their final names when they are complete, on disks with room."""

import errno
import os
import pathlib
import tempfile
from collections.abc import Mapping


def write_atomically(files: Mapping[pathlib.Path, bytes]) -> None:
    """Writes files beside their final names, then renames them all into place.

    Args:
      files: Contents by final name; older files of those names are replaced.

    Raises:
      OSError: A file cannot be written; what was there before is intact.
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
    """Asks the system for room, and gives it back.

    Where it cannot be asked (macOS, some network drives), there is said to be room.

    Args:
      folder: On the disk in question.
      size: Bytes.

    Raises:
      OSError: The disk, the user's share of it, or what one file may have is too small; or
        no file can be made there.
    """
    if not hasattr(os, 'posix_fallocate'):
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
