"""Files appear under their final names when they are complete."""

import os
import pathlib
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
