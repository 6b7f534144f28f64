"""One layer, a convolution with pooling and its gradients, in each formulation."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from benchmarking.report import Table
from jaxtyping import Array

from mnist_flax.models import cpu_conv, ops

# Height, width, channels, features. First layers need no gradient of their input.
_FIRST = ((28, 28, 1, 32), (8, 8, 1, 32), (32, 32, 3, 32), (64, 48, 3, 32))
_LATER = ((13, 13, 32, 64), (15, 15, 32, 64), (31, 23, 32, 64), (13, 13, 128, 128))
_SMALL = ((28, 28, 4, 32), (28, 28, 8, 4), (5, 5, 64, 128), (4, 4, 32, 64))

_CALLS = 5  # in a turn


def measure() -> Iterator[tuple[Table, str, Mapping[str, Callable[[], object]]]]:
    """Yields, for each shape, its table and column, and a call of each formulation."""
    groups = [
        ('First layers, batches of 128', 128, _FIRST, True),
        ('First layers, batches of 8', 8, _FIRST, True),
        ('Later layers, batches of 128', 128, _LATER, False),
        ('Later layers, batches of 8', 8, _LATER, False),
        ('Few channels or features, small maps, batches of 128', 128, _SMALL, False),
    ]
    for title, batch_size, shapes, is_first in groups:
        table = Table(f'{title}: milliseconds', axis='input and features')
        for height, width, channels, features in shapes:
            random = np.random.default_rng(0)
            pooled = (height - 2) // 2, (width - 2) // 2
            arrays = [
                random.normal(size=size).astype(np.float32)
                for size in (
                    (batch_size, height, width, channels),
                    (3, 3, channels, features),
                    (batch_size, *pooled, features),
                )
            ]
            calls = {
                form: functools.partial(
                    _compile(form, is_first), *map(jax.device_put, arrays)
                )
                for form in ('winograd', 'xla')
            }
            yield table, f'{height}x{width}x{channels}, {features}', calls


def time_turn(call: Callable[[], object]) -> float:
    """Returns the milliseconds of a call, the mean of a few."""
    start = time.perf_counter()
    for _ in range(_CALLS):
        result = call()
    jax.block_until_ready(result)
    return 1000 * (time.perf_counter() - start) / _CALLS


def _compile(form: ops.Formulation, is_first: bool) -> Callable[..., list[Array]]:
    def apply(x, kernel, gradient):
        layer = functools.partial(ops.conv_max_pool, formulation=form)
        if is_first:  # the input is the images, which need no gradient
            y, vjp = jax.vjp(lambda kernel: layer(x, kernel), kernel)
        else:
            y, vjp = jax.vjp(layer, x, kernel)
        # Sums, so that no large result is copied.
        return [array.sum() for array in (y, *vjp(gradient))]

    return jax.jit(apply, compiler_options=cpu_conv.COMPILER_OPTIONS)
