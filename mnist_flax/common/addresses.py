"""Addresses of buckets and web pages, which are no folders or files of this machine."""

import re

from mnist_flax.common.errors import require

# A drive of Windows has one letter.
_ADDRESS = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:/')


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
