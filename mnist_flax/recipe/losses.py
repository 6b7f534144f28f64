"""Losses: logits and labels to one number for each example.

``config.loss.constructor`` names one of these, or a function of your own; the other fields
are its arguments. A number of them that a sweep varies is traced.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mnist_flax.common.errors import require

Number = Float[Array, ''] | float


def cross_entropy(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'],
    label_smoothing: Number = 0.0,
) -> Float[Array, 'batch']:
    """Sparse categorical cross-entropy, in nats.

    Args:
      logits: The network's answers.
      labels: The right ones.
      label_smoothing: Part of a label's probability that is spread over all classes
        (Szegedy et al. 2016, arXiv 1512.00567).

    Raises:
      UserError: The part is not from 0 to less than 1.
    """
    if isinstance(label_smoothing, float):
        require(
            0 <= label_smoothing < 1,
            f'config.loss.label_smoothing: found {label_smoothing}; allowed: 0 to less '
            'than 1',
        )
        if not label_smoothing:
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def focal(
    logits: Float[Array, 'batch classes'], labels: Int[Array, 'batch'], gamma: Number = 2.0
) -> Float[Array, 'batch']:
    """Cross-entropy in which examples that are recognised well count less, in nats.

    Lin et al. 2017, arXiv 1708.02002.

    Args:
      logits: The network's answers.
      labels: The right ones.
      gamma: How much less; with 0 it is the cross-entropy.

    Raises:
      UserError: It is negative.
    """
    if isinstance(gamma, float):
        require(gamma >= 0, f'config.loss.gamma: found {gamma}; allowed: 0 or more')
    log_probability = jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
    # At 0 the derivative of a power below 1 is infinite.
    rest = jnp.maximum(-jnp.expm1(log_probability), 1e-12)
    return -(rest**gamma) * log_probability


def mean_squared_error(
    logits: Float[Array, 'batch classes'], labels: Int[Array, 'batch']
) -> Float[Array, 'batch']:
    """Mean over classes of the squared distance of logits to the one-hot label.

    Hui & Belkin 2021, arXiv 2006.07322, compare it with the cross-entropy.
    """
    return jnp.mean((logits - jax.nn.one_hot(labels, logits.shape[-1])) ** 2, axis=-1)
