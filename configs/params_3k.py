"""At most 3,000 parameters: three separable convolutions."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 2,870 parameters."""
    config = small.get_config()
    config.model.stem = 12
    config.model.stages = ((24,), (28, 24), ())
    config.model.convolution = 'separable'
    config.augment.strength = 0.5
    config.num_epochs = 60
    return config
