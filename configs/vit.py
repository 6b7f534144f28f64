"""A small vision transformer, as a user writes it in a config of one file."""

import flax.linen as nn
from ml_collections import ConfigDict

from configs import default


class ViT(nn.Module):
    """Patches, then blocks of attention and a dense net (arXiv:2010.11929)."""

    patch: int  # pixels on each side
    width: int
    depth: int
    num_heads: int
    rate: float  # of dropout
    num_classes: int

    @nn.compact
    def __call__(self, images, deterministic=True):
        """Maps images to logits."""
        size = self.patch
        n, height, width, channels = images.shape
        x = images.reshape(n, height // size, size, width // size, size, channels)
        x = x.swapaxes(2, 3).reshape(n, -1, size * size * channels)
        x = nn.Dense(self.width)(x)
        init = nn.initializers.normal(0.02)
        x = x + self.param('positions', init, (1, *x.shape[1:]))
        for _ in range(self.depth):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(self.num_heads)(y)
            y = nn.Dense(2 * self.width)(nn.LayerNorm()(x))
            y = nn.Dense(self.width)(nn.gelu(y))
            x = x + nn.Dropout(self.rate, deterministic=deterministic)(y)
        return nn.Dense(self.num_classes)(nn.LayerNorm()(x).mean(1))


def get_config():
    """Returns the default settings with this network."""
    config = default.get_config()
    config.num_epochs = 15
    config.batch_size = 128
    config.model = {
        'constructor': 'configs.vit.ViT',
        'patch': 7,
        'width': 64,
        'depth': 3,
        'num_heads': 4,
        'rate': 0.1,
        'num_classes': 0,  # as many as the data set has
    }
    config.optimizer.constructor = 'adamw'
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.05
    config.schedule = ConfigDict({'constructor': 'cosine', 'warmup': 0.1})
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.augment.shear = 0.1
    config.augment.shift = 1.0
    return config
