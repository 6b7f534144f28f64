"""The folder of what can be made again: compiled programs and decoded data."""

import pathlib

import platformdirs


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
