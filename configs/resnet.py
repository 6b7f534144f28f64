"""A small residual network with batch norm, as a user writes it in a config of one file."""

import flax.linen as nn
from ml_collections import ConfigDict

from configs import default
from mnist_flax.models import Conv, max_pool


class Block(nn.Module):
    """Two convolutions, added to the input (He et al. 2016, arXiv:1512.03385)."""

    width: int
    norm: dict  # arguments of batch norm

    @nn.compact
    def __call__(self, x):
        """Maps feature maps to others of the same size."""
        y = Conv(self.width, (3, 3), use_bias=False)(x)
        y = nn.relu(nn.BatchNorm(**self.norm)(y))
        y = Conv(self.width, (3, 3), use_bias=False)(y)
        y = nn.BatchNorm(**self.norm, scale_init=nn.initializers.zeros)(y)
        if x.shape[-1] != self.width:
            x = Conv(self.width, (1, 1), use_bias=False)(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A convolution, then blocks with max-pooling in between."""

    widths: tuple[int, ...]
    num_classes: int

    @nn.compact
    def __call__(self, images, train=False, axis_name=None):
        """Maps images to logits."""
        norm = {'use_running_average': not train, 'axis_name': axis_name, 'momentum': 0.9}
        x = Conv(self.widths[0], (3, 3), use_bias=False)(images)
        x = nn.relu(nn.BatchNorm(**norm)(x))
        for width in self.widths:
            x = max_pool(x, (2, 2), (2, 2))
            x = Block(width, norm)(x)
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


def get_config():
    """Returns the default settings with this network."""
    config = default.get_config()
    config.num_epochs = 12
    config.batch_size = 128
    config.model = {
        'constructor': 'configs.resnet.ResNet',
        'widths': (16, 32),
        'num_classes': 0,  # as many as the data set has
    }
    config.optimizer.learning_rate = 5e-3
    config.schedule = ConfigDict({'constructor': 'onecycle', 'warmup': 0.2})
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.augment.shear = 0.1
    config.augment.shift = 1.5
    return config
