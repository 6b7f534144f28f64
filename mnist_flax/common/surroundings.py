"""What a command finds around it, set so that nothing of it changes or breaks a run."""

import logging
import os
import pathlib

from absl import logging as absl_logging

from mnist_flax.common import caches
from mnist_flax.common.errors import require

# Bytes; with 2.2 GiB the default run ends on 2 cores. Each thread takes some.
_LEAST_ADDRESS_SPACE = 3 * 2**30


def prepare() -> None:
    """Sets what JAX and Matplotlib read when they are imported, and what libraries log."""
    # Programs that were compiled once, by any run, are loaded: a later start takes a third
    # of the first's time.
    if cache := caches.find_folder():
        for setting, value in (
            ('JAX_COMPILATION_CACHE_DIR', str(cache / 'compiled')),
            ('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0'),
        ):
            os.environ.setdefault(setting, value)
        compiled = pathlib.Path(os.environ['JAX_COMPILATION_CACHE_DIR'])
        caches.trim(compiled)
        caches.heal_compiled(compiled)
    os.environ['MPLBACKEND'] = 'agg'  # no command opens a window; any other could fail
    # Of a user without a home it says where it keeps its fonts.
    logging.getLogger('matplotlib').setLevel(logging.ERROR)
    # What Orbax raises it logs too, with tracebacks; TensorStore's threads print more.
    absl_logging.get_absl_logger().addFilter(
        lambda line: 'orbax' not in line.pathname or not line.exc_info
    )


def check_address_space() -> None:
    """Checks the limit of `ulimit -v`: the libraries crash where they need more.

    Raises:
      UserError: It is too low.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    require(
        limit == resource.RLIM_INFINITY or limit >= _LEAST_ADDRESS_SPACE,
        f'this process may have {limit / 2**30:.2g} GiB of address space; JAX and its '
        f'libraries need {_LEAST_ADDRESS_SPACE >> 30} GiB, so set ulimit -v unlimited',
    )
