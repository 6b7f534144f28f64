"""JAX's own switches, as users have set them by environment variables."""

import contextlib
from collections.abc import Iterator

import jax

from mnist_flax.common.errors import UserError


@contextlib.contextmanager
def in_our_settings() -> Iterator[None]:
    """Has JAX compute as this program expects it to, and refuse nothing of what it does.

    With 64 bits the numbers would be others, and careful users have JAX refuse what is done
    here on purpose. The kind of random numbers remains the user's choice.
    """
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion('standard'),
        jax.numpy_rank_promotion('allow'),
        jax.transfer_guard('allow'),
    ):
        yield


def list_devices() -> list[jax.Device]:
    """Lists JAX's devices.

    Raises:
      UserError: There are none of the kind that the user wants.
    """
    try:
        return jax.devices()
    except (AssertionError, RuntimeError) as error:
        wanted = jax.config.jax_platforms  # type: ignore[attr-defined]
        if not wanted or jax.distributed.is_initialized():
            raise
        raise UserError(
            f'JAX_PLATFORMS: found {wanted!r}, but there is no such device, or JAX lacks '
            'what it takes; unset it, or see docs/machines.md'
        ) from error
