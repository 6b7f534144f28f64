"""The network, built from ``config.model``."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mnist_flax.common.errors import require
from mnist_flax.models import ops

Dtype = Literal['float32', 'bfloat16']


class Dropout(NamedTuple):
    """How activations are dropped in training."""

    keys: Key[Array, 'batch']  # one for each example, on whichever device it is
    rate: Float[Array, '']  # probability that an activation is dropped


def create_model(
    features: tuple[int, ...],
    hidden_size: int,
    num_classes: int,
    conv: ops.Formulation,
    dtype: Dtype,
    dropout_rate: float,
    batch_norm: bool,
) -> 'CNN':
    """Makes a `CNN` from the fields of ``config.model``.

    The dropout rate is only checked here: the network gets it with each batch, since it may
    differ between the runs of a population.

    Raises:
      UserError: A size is not positive, or the dropout rate is not between 0 and 1.
    """
    for field, value in (('hidden_size', hidden_size), ('num_classes', num_classes)):
        require(value >= 1, f'config.model.{field}: found {value}; allowed: 1 or more')
    require(
        len(features) >= 1 and min(features) >= 1,
        f'config.model.features: found {features}; allowed: positive numbers, one for each '
        'convolution',
    )
    require(
        0 <= dropout_rate < 1,
        f'config.model.dropout_rate: found {dropout_rate}; allowed: 0 to less than 1',
    )
    return CNN(features, hidden_size, num_classes, conv, dtype, batch_norm)


def summarize(
    model: nn.Module, image_shape: tuple[int, ...] = (28, 28, 1), **arguments: Any
) -> str:
    """Tabulates the layers with their outputs and numbers of parameters.

    Args:
      model: The model.
      image_shape: Height, width and channels of the images.
      **arguments: What it is called with, beside the images; see `calls`.
    """
    table = nn.tabulate(
        model,
        jax.random.key(0),
        depth=1,
        # Plain text everywhere, at a width that terminals, logs and notebooks have.
        console_kwargs={'width': 100, 'force_terminal': False, 'force_jupyter': False},
    )
    return table(jnp.zeros((1, *image_shape)), **arguments).strip()


def count_convolutions(height: int, width: int) -> int:
    """Counts how many convolutions with pooling images of a size allow."""
    side, number = min(height, width), 0
    while side >= 4:  # what a 3x3 convolution and a 2x2 pool need
        side, number = (side - 2) // 2, number + 1
    return number


class CNN(nn.Module):
    """Convolutions with max-pooling, then dense layers; returns logits.

    With the default config and 28x28x1 images it has 225,034 parameters.
    """

    features: tuple[int, ...]  # filters of each 3x3 convolution
    hidden_size: int  # units of the dense layer before the logits
    num_classes: int
    conv: ops.Formulation  # 'auto' for the one that `ops` chooses by the backend
    dtype: Dtype  # of activations; parameters, logits and loss are float32
    batch_norm: bool = False  # before each ReLU of the convolutions

    @nn.compact
    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        train: bool = False,
        dropout: Dropout | None = None,
        axis_name: str | None = None,
    ) -> Float[Array, 'batch num_classes']:
        """Maps images with pixels in [0, 1] to logits.

        Args:
          images: The images.
          train: Whether batch norm uses the statistics of this batch, and collects them.
          dropout: How to drop activations; nothing is dropped if None.
          axis_name: The mapped axis along which devices share the batch, if any; batch
            norm takes its statistics over the whole batch.

        Raises:
          UserError: The images are too small for so many convolutions.
        """
        height, width = images.shape[1:3]
        most = count_convolutions(height, width)
        require(
            len(self.features) <= most,
            f'config.model.features: found {self.features}; images of {height}x{width} '
            f'pixels allow 1 to {most} convolutions',
        )
        x = images
        for i, features in enumerate(self.features):
            x = ConvReluPool(
                features, self.conv, self.dtype, self.batch_norm, train, axis_name
            )(x)
            # Whole feature maps, whose pixels are alike (Tompson et al. 2015, arXiv
            # 1411.4280), at half the rate. A random number for each of the 7,136
            # activations of an example would add 5 ms to a step of 17.
            x = _drop(x, dropout, i, scale=0.5, shape=(1, 1, features))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.hidden_size, dtype=self.dtype)(x))
        x = _drop(x, dropout, len(self.features), scale=1.0, shape=(self.hidden_size,))
        logits = nn.Dense(self.num_classes, dtype=self.dtype)(x)
        return logits.astype(jnp.float32)


class ConvReluPool(nn.Module):
    """3x3 convolution without padding, bias, ReLU, 2x2 max-pool."""

    features: int
    formulation: ops.Formulation
    dtype: Dtype
    batch_norm: bool
    train: bool  # as in `CNN.__call__`
    axis_name: str | None  # as in `CNN.__call__`

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch pooled_height pooled_width features']:
        """Computes relu(max_pool(conv(x)) + bias).

        Adding a bias and ReLU keep the order of numbers, so that taking the maximum first
        gives the same outputs with less work. With batch norm it is
        relu(norm(max_pool(conv(x)))): the maxima are normalised, and the norm's bias
        replaces this one.
        """
        kernel = self.param(
            'kernel',
            nn.initializers.lecun_normal(),
            (3, 3, x.shape[-1], self.features),
            jnp.float32,
        )
        x = ops.conv_max_pool(
            x.astype(self.dtype), kernel.astype(self.dtype), self.formulation
        )
        if self.batch_norm:
            # Over the batch of all devices. The examples that fill up a smaller last batch
            # count in these statistics, and nowhere else.
            norm = nn.BatchNorm(
                use_running_average=not self.train,
                axis_name=self.axis_name if self.train else None,
                dtype=self.dtype,
            )
            return nn.relu(norm(x))
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        return nn.relu(x + bias.astype(self.dtype))


def _drop(x, dropout, layer, scale, shape):
    """Drops parts of ``shape`` of each example; the rate may be traced."""
    if dropout is None:
        return x
    kept = 1 - scale * dropout.rate

    def draw(key):
        return jax.random.bernoulli(jax.random.fold_in(key, layer), kept, shape)

    return jnp.where(jax.vmap(draw)(dropout.keys), x / kept.astype(x.dtype), 0)
