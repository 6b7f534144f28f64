"""Addresses of buckets and web pages, which are no folders or files of this machine."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from mnist_flax.common.errors import UserError, require

# A drive of Windows has one letter.
_ADDRESS = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:/')

# Flags and arguments whose folder may be in a bucket.
_MAY_BE_BUCKETS = ('--workdir', '--report_dir', 'the argument WORKDIR')

# How the names of flags and fields end that are folders or files.
_PATHS = ('dir', 'save_figure')
_ARGUMENT = 'the argument '  # and what --help calls it; always a path


def is_bucket(text: str) -> bool:
    """Tells whether a text is an address such as ``s3://bucket/run``."""
    return bool(_ADDRESS.match(text)) and '://' in text


def normalize(address: str) -> str:
    """Removes what an address has of slashes at the end, and of doubled ones."""
    scheme, _, path = address.partition('://')
    start = '/' if path.startswith('/') else ''  # as in file:///folder
    return f'{scheme}://{start}{"/".join(filter(None, path.split("/")))}'


def require_local(text: str, name: str) -> None:
    """Refuses an address such as ``s3://bucket/run``, which would be taken for a folder.

    Args:
      text: What should be a folder or file.
      name: The flag or field that it comes from, for messages.

    Raises:
      UserError: It is an address.
    """
    require(
        not _ADDRESS.match(text),
        f'{name}: found {text!r}; allowed: a folder or file of this machine; mount the '
        'bucket (by gcsfuse, mountpoint-s3 or rclone, say) and name its folder, or copy '
        'what is there',
    )


def require_local_paths(values: Mapping[str, Any]) -> None:
    """Applies `require_local` to the folders and files among the values of flags.

    Of those that may be in a bucket it checks that this Python can reach such buckets.

    Args:
      values: Values by flag, such as ``'--workdir'``; a config is one. Arguments that
        follow the flags are, say, ``'the argument IMAGE'``.

    Raises:
      UserError: One is an address.
    """
    for name, text in _list_texts(values):
        if name in _MAY_BE_BUCKETS and is_bucket(text):
            _require_known(text, name)
        elif name.endswith(_PATHS) or name.startswith(_ARGUMENT):
            require_local(text, name)


def _require_known(address: str, name: str) -> None:
    require(
        not address.startswith(('file:', 'local:', 'memory:')),
        f'{name}: found {address!r}; allowed: the path of a folder, or a bucket',
    )
    try:
        import fsspec  # which others need not wait for

        fsspec.get_filesystem_class(address.partition('://')[0])
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{name}: cannot reach {address} ({error}); pip install -e '.[buckets]' for "
            's3:// and gs://, or the package that fsspec names for others'
        ) from error


def _list_texts(tree: Any, path: str = '') -> Iterator[tuple[str, str]]:
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _list_texts(value, path)
    elif isinstance(tree, Mapping | ml_collections.ConfigDict):
        for name, value in tree.items():
            yield from _list_texts(value, f'{path}.{name}' if path else name)
