"""A file appears under its final name only when it is complete."""

import os
import pathlib


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file beside its final name, then renames it into place.

    Args:
      path: The final name; an older file of that name is replaced.
      content: The whole file.

    Raises:
      OSError: The file cannot be written; what was there before is intact.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
