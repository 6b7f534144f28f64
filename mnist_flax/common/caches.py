"""The folder of what can be made again: compiled programs and decoded data."""

import contextlib
import os
import pathlib
import sys
import warnings
from typing import Any

import platformdirs

_MOST_BYTES = 2**30  # of compiled programs; those of one config take some megabytes


def find_folder() -> pathlib.Path | None:
    """Finds the folder for caches of this user, and makes it.

    Returns:
      The folder; None where there is none or it cannot be made, as for a user without a
      home. Then all is only slower.
    """
    try:
        folder = platformdirs.user_cache_path('mnist_flax')
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder


def trim(folder: pathlib.Path, most: int = _MOST_BYTES) -> None:
    """Removes the files that have not been used for longest, if all take too much.

    Args:
      folder: A folder of files that can be made again; it may be absent.
      most: Bytes that they may take; if they take more, half of that is kept.
    """
    with contextlib.suppress(OSError):
        found = [(entry, entry.stat()) for entry in os.scandir(folder) if entry.is_file()]
        left = sum(status.st_size for _, status in found)
        target = most // 2 if left > most else left
        found.sort(key=lambda of: max(of[1].st_atime, of[1].st_mtime))
        for entry, status in found:
            if left <= target:
                break
            os.unlink(entry.path)
            left -= status.st_size


def heal_compiled(folder: pathlib.Path) -> None:
    """Empties JAX's cache of compiled programs when JAX finds a damaged one in it.

    JAX compiles a program whose file it cannot read, but leaves the file, and warns of it
    in two lines for each program and at each start.
    """
    show, healed = warnings.showwarning, False

    def notice(message: Any, *others: Any, **options: Any) -> None:
        nonlocal healed
        if 'persistent compilation cache entry' not in str(message):
            show(message, *others, **options)
            return
        if healed:
            return
        healed = True
        for path in folder.glob('*-cache'):
            with contextlib.suppress(OSError):
                path.unlink()
        print(
            f'warning: {folder} was damaged and is empty now; programs are compiled anew',
            file=sys.stderr,
            flush=True,
        )

    warnings.showwarning = notice
