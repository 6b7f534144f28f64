"""Operations that XLA runs slowly in a compiled loop on a CPU."""

from collections.abc import Iterator
from typing import Any

# With the names by which a user knows them.
_SLOW = {
    'conv_general_dilated': "XLA's convolution",
    'select_and_scatter_add': "the gradient of XLA's max-pooling",
}


def find_slow(jaxpr: Any) -> list[str]:
    """Lists operations of a program that are slow in a loop on a CPU.

    Args:
      jaxpr: The program, as `jax.make_jaxpr` or ``jax.jit(f).trace(...).jaxpr`` gives it.

    Returns:
      Each kind once, as a person calls it; empty if there is none.
    """
    found = {equation.primitive.name for equation in _equations(jaxpr)}
    return [text for name, text in _SLOW.items() if name in found]


def _equations(value: Any) -> Iterator[Any]:
    """Yields the equations of a program, and of those in their parameters."""
    value = getattr(value, 'jaxpr', value)
    if isinstance(value, list | tuple):
        for part in value:
            yield from _equations(part)
    for equation in getattr(value, 'eqns', ()):
        yield equation
        for parameter in equation.params.values():
            yield from _equations(parameter)
