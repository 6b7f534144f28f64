"""Numbers of a training step, beside its loss and accuracy.

``config.metrics.<name>.constructor`` names one of these or a function of your own. It gets
by name those of these arguments that it has: ``logits``, ``aux`` (what else the model
returns), ``labels``, ``mask`` (the examples that count) and ``losses`` of the device's part
of the batch; ``grads``, ``updates`` and the new ``params``. Other fields of the config are
its further arguments.
"""

from typing import Any

import optax
from jaxtyping import Array, Float


def gradient_norm(grads: Any) -> Float[Array, '']:
    """Euclidean norm of the gradient, over all parameters, before any clipping."""
    return optax.tree.norm(grads)


def update_ratio(updates: Any, params: Any) -> Float[Array, '']:
    """Norm of a step's change of the parameters, as a fraction of their norm."""
    return optax.tree.norm(updates) / optax.tree.norm(params)
