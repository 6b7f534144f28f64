"""Networks that answer with the mean of their logits for five shifts of an image."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from configs import accurate
from mnist_flax import models
from mnist_flax.models import calls, ops
from mnist_flax.models.cnn import Dtype

# Pixels by which an image is moved, down and to the right.
SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


class MeanOverShifts(nn.Module):
    """A network that sees an image and its four neighbours when it is used.

    This is test-time augmentation. Pooling makes something else of an image that is moved
    by a pixel, so the answers differ a little, and their mean is more often right
    (docs/accuracy.md). In training the network sees the image alone.
    """

    network: nn.Module

    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        train: bool = False,
        dropout: models.Dropout | None = None,
        axis_name: str | None = None,
    ) -> Float[Array, 'batch num_classes']:
        """Maps images to logits."""
        if train:
            arguments = calls.train_arguments(self.network, dropout, axis_name)
            return self.network(images, **arguments)
        # What leaves on one side comes back on the other. In 99 of 100 images of MNIST
        # nothing does: their outermost pixels are black.
        moved = jnp.concatenate([jnp.roll(images, by, (1, 2)) for by in SHIFTS])
        returned = self.network(moved, **calls.eval_arguments(self.network))
        logits = calls.read_outputs(returned).logits
        return logits.reshape(len(SHIFTS), len(images), -1).mean(0)


def create_cnn(
    features: tuple[int, ...],
    hidden_size: int,
    num_classes: int,
    conv: ops.Formulation,
    dtype: Dtype,
    dropout_rate: float,
    batch_norm: bool,
) -> MeanOverShifts:
    """Makes the package's own network, with the same fields, and its mean over shifts."""
    return MeanOverShifts(
        models.create_model(
            features, hidden_size, num_classes, conv, dtype, dropout_rate, batch_norm
        )
    )


def get_config() -> ConfigDict:
    """Returns the accurate settings with the mean over five shifts."""
    config = accurate.get_config()
    config.model.constructor = 'configs.shifts.create_cnn'
    return config
