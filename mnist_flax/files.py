"""Files appear under their final names when complete; a folder has one writer."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator, Mapping

from mnist_flax.checks import UserError


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


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from working in the folder; the system frees it with this one.

    Raises:
      UserError: Another process is at work there.
    """
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f'--workdir: another process is at work in {folder}; allowed: another '
                'folder, or to wait until it has ended'
            ) from error
        yield
