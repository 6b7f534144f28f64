"""The network, built from ``config.model``."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mnist_flax import ops
from mnist_flax.checks import require
from mnist_flax.data import IMAGE_SHAPE

Dtype = Literal['float32', 'bfloat16']


def create_model(
    features: tuple[int, ...],
    hidden_size: int,
    num_classes: int,
    conv: ops.Formulation,
    dtype: Dtype,
) -> 'CNN':
    """Makes a `CNN` for 28x28x1 images from the fields of ``config.model``.

    Raises:
      UserError: A size is not positive, or the images are too small for the convolutions.
    """
    for field, value in (('hidden_size', hidden_size), ('num_classes', num_classes)):
        require(value >= 1, f'config.model.{field}: found {value}; allowed: 1 or more')
    side, most = IMAGE_SHAPE[0], 0
    while side >= 4:  # what a 3x3 convolution and a 2x2 pool need
        side, most = (side - 2) // 2, most + 1
    require(
        1 <= len(features) <= most and min(features) >= 1,
        f'config.model.features: found {features}; allowed: 1 to {most} positive numbers, '
        'one for each convolution',
    )
    return CNN(features, hidden_size, num_classes, conv, dtype)


def summarize(model: 'CNN') -> str:
    """Draws a table of the layers with their outputs and numbers of parameters."""
    table = nn.tabulate(
        model,
        jax.random.key(0),
        depth=1,
        # Plain text everywhere, at a width that terminals, logs and notebooks have.
        console_kwargs={'width': 100, 'force_terminal': False, 'force_jupyter': False},
    )
    return table(jnp.zeros((1, *IMAGE_SHAPE))).strip()


class CNN(nn.Module):
    """Convolutions with max-pooling, then dense layers; returns logits.

    With the default config and 28x28x1 images it has 225,034 parameters.
    """

    features: tuple[int, ...]  # filters of each 3x3 convolution
    hidden_size: int  # units of the dense layer before the logits
    num_classes: int
    conv: ops.Formulation  # 'xla', 'winograd', or 'auto' for the backend's faster one
    dtype: Dtype  # of activations; parameters, logits and loss are float32

    @nn.compact
    def __call__(
        self, images: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch num_classes']:
        """Maps images with pixels in [0, 1] to logits."""
        x = images
        for features in self.features:
            x = ConvReluPool(features, self.conv, self.dtype)(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.hidden_size, dtype=self.dtype)(x))
        logits = nn.Dense(self.num_classes, dtype=self.dtype)(x)
        return logits.astype(jnp.float32)


class ConvReluPool(nn.Module):
    """3x3 convolution without padding, bias, ReLU, 2x2 max-pool."""

    features: int
    formulation: ops.Formulation
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch pooled_height pooled_width features']:
        """Computes relu(max_pool(conv(x)) + bias), the same function on fewer numbers.

        Adding a bias and ReLU keep the order of numbers, so the maximum may be taken first.
        """
        kernel = self.param(
            'kernel',
            nn.initializers.lecun_normal(),
            (3, 3, x.shape[-1], self.features),
            jnp.float32,
        )
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        return nn.relu(ops.conv_max_pool(x, kernel, self.formulation) + bias)
