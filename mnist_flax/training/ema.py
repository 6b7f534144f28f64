"""The exponential moving average (EMA) of what a run learns."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def init(variables: Any) -> Any:
    """Starts an average of variables from 0; `debias` makes up for that."""
    return jax.tree.map(jnp.zeros_like, variables)


def update(ema: Any, variables: Any, decay: float) -> Any:
    """Takes new variables into the average.

    Of what is not a float, such as a counter, it keeps the last.

    Args:
      ema: The average so far.
      variables: The new ones.
      decay: Weight of the average so far.
    """

    def mix(old: Array, new: Array) -> Array:
        return (1 - decay) * new + decay * old if _is_float(new) else new

    return jax.tree.map(mix, ema, variables)


def debias(ema: Any, decay: float, num_updates: Int[Array, '']) -> Any:
    """Divides an average by the sum of its weights, as Adam does with its moments.

    Kingma & Ba 2015, arXiv 1412.6980, section 3.

    Args:
      ema: The average.
      decay: As in `update`.
      num_updates: How many there were, at least 1.
    """
    weight: Float[Array, ''] = 1 - decay**num_updates
    return jax.tree.map(
        lambda leaf: leaf / weight.astype(leaf.dtype) if _is_float(leaf) else leaf, ema
    )


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
