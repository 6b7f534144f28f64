"""Two deeper networks, as teachers of smaller ones in `distilled`."""

import flax.linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from configs import accurate
from mnist_flax.models import Conv, ConvMaxPool, max_pool


class Network(nn.Module):
    """Five convolutions with batch norm at three sizes, then the mean over all places."""

    widths: tuple[int, int, int]  # feature maps at each size
    rate: float  # of dropout, which drops whole feature maps
    num_classes: int

    @nn.compact
    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        train: bool = False,
        axis_name: str | None = None,
    ) -> Float[Array, 'batch num_classes']:
        """Maps images to logits."""
        first, second, third = self.widths

        def activate(x):
            return nn.relu(normalize(x, train, axis_name))

        def drop(x):
            return nn.Dropout(self.rate, broadcast_dims=(1, 2), deterministic=not train)(x)

        x = activate(ConvMaxPool(first)(images))
        for _ in range(2):
            x = activate(Conv(second, (3, 3), use_bias=False)(x))
        x = max_pool(drop(x), (2, 2), (2, 2))
        for _ in range(2):
            x = activate(Conv(third, (3, 3), use_bias=False)(x))
        return nn.Dense(self.num_classes)(drop(x).mean((1, 2)))


def normalize(
    x: Float[Array, 'batch height width features'], train: bool, axis_name: str | None
) -> Float[Array, 'batch height width features']:
    """Applies batch norm without a scale, which the next layer's kernel can have."""
    return nn.BatchNorm(
        use_running_average=not train, axis_name=axis_name, momentum=0.9, use_scale=False
    )(x)


def get_config() -> ConfigDict:
    """Returns the accurate settings with this network, and fewer epochs."""
    config = accurate.get_config()
    config.runs = 2
    config.num_epochs = 16
    config.model = ConfigDict({'constructor': 'configs.teacher.Network'})
    config.model.widths = (24, 48, 96)  # feature maps at each size
    config.model.rate = 0.1  # of dropout
    config.model.num_classes = 0  # as many as the data set has
    config.optimizer.learning_rate = 4e-3
    return config
