"""Networks of few parameters, taught by larger ones; the ``params_*`` configs size them."""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from configs import accurate, distilled
from configs.shifts import MeanOverShifts
from configs.teacher import normalize
from mnist_flax.common.errors import require
from mnist_flax.models import Conv, ConvMaxPool, max_pool

Kind = Literal['full', 'separable', 'shared']  # shared: one separable layer everywhere


class Network(nn.Module):
    """Convolutions at several sizes with batch norm."""

    stem: int  # feature maps of the first convolution, which pools
    stages: tuple[tuple[int, ...], ...]  # of the others: at each size those of its layers
    convolution: Kind  # of the stages
    num_classes: int

    @nn.compact
    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        train: bool = False,
        axis_name: str | None = None,
    ) -> Float[Array, 'batch num_classes']:
        """Maps images to logits."""

        def norm(x):
            return normalize(x, train, axis_name)

        x = nn.relu(norm(ConvMaxPool(self.stem)(images)))
        shared = (
            Separable(self.stem, name='shared') if self.convolution == 'shared' else None
        )
        for i, widths in enumerate(self.stages):
            if i > 0:
                x = max_pool(x, (2, 2), (2, 2))
            for width in widths:
                if shared is not None:
                    x = nn.relu(x + norm(shared(x)))
                elif self.convolution == 'separable':
                    x = nn.relu(norm(Separable(width)(x)))
                else:
                    x = nn.relu(norm(Conv(width, (3, 3), use_bias=False)(x)))
        # Each place has a weight. Global average pooling forgets where a feature was: with
        # it the smallest network has 0.9 points less after 8 epochs (docs/accuracy.md).
        at_places = self.param(
            'at_places', nn.initializers.constant(1 / x[0, ..., 0].size), x.shape[1:]
        )
        return nn.Dense(self.num_classes)((x * at_places).sum((1, 2)))


def create(
    stem: int, stages: tuple[tuple[int, ...], ...], convolution: Kind, num_classes: int
) -> MeanOverShifts:
    """Makes a `Network` that answers with its mean over shifts.

    Raises:
      UserError: The layers that share a convolution are not of one width.
    """
    widths = {stem, *(width for of in stages for width in of)}
    require(
        convolution != 'shared' or len(widths) == 1,
        f"config.model.stages: found {stages}; with convolution = 'shared' all numbers "
        f'must be those of config.model.stem, {stem}',
    )
    return MeanOverShifts(Network(stem, stages, convolution, num_classes))


class Separable(nn.Module):
    """A depthwise separable convolution: one of each feature map, then one of 1x1."""

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch height width features']:
        """Maps feature maps to others of the same size."""
        maps = x.shape[-1]
        x = Conv(maps, (3, 3), feature_group_count=maps, use_bias=False)(x)
        return Conv(self.features, (1, 1), use_bias=False)(x)


def get_config() -> ConfigDict:
    """Returns the accurate settings with this network, its teacher, and fewer epochs."""
    config = accurate.get_config()
    config.num_epochs = 16
    config.model = ConfigDict({'constructor': 'configs.small.create'})
    config.model.stem = 8  # feature maps of the first convolution
    config.model.stages = ((12, 12), (20, 20), ())  # of the others; () = pooling alone
    config.model.convolution = 'full'  # or 'separable', 'shared' (by all of them)
    config.model.num_classes = 0  # as many as the data set has
    config.optimizer.learning_rate = 1e-2
    config.loss = distilled.get_config().loss
    config.loss.teacher.workdir = 'outputs/distilled'  # of configs/distilled.py
    config.loss.teacher.network = 'mnist_flax.models.create_model'
    return config
