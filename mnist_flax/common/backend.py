"""What programs are made for: which devices, and one run on each or several.

Both are contexts of JAX, a part of the key under which it keeps what it has traced, so that
a program made for others is never taken.
"""

from typing import NamedTuple

import jax


class Described(NamedTuple):
    """Devices that are not here, for which programs can be compiled but not run."""

    devices: tuple[jax.Device, ...]
    platform: str  # in JAX's words: 'cpu', 'gpu' or 'tpu'
    memory: float  # bytes that JAX may use on each

    @property
    def num_hosts(self) -> int:
        """Counts the machines that have the devices."""
        return len({device.process_index for device in self.devices})


# `with assume(described):` has all programs made for devices that are not here.
assume = jax.make_user_context(None)

# `with several_runs(True):` has programs made for several runs side by side on a device.
several_runs = jax.make_user_context(False)


def described() -> Described | None:
    """Returns the devices that are assumed, if any are."""
    return assume.value


def platform() -> str:
    """Names the kind of the devices in JAX's words: ``'cpu'``, ``'gpu'`` or ``'tpu'``."""
    return assume.value.platform if assume.value else jax.default_backend()


def num_hosts() -> int:
    """Counts the hosts that share the devices."""
    return assume.value.num_hosts if assume.value else jax.process_count()


def avoids_convolutions() -> bool:
    """Tells whether convolutions should be written as products.

    With ``vmap`` over kernels, several runs share one convolution that has a group of
    channels for each run. GPUs are slow at it, above all at its gradient (jax#26266,
    jax#26568).
    """
    return several_runs.value and platform() == 'gpu'
