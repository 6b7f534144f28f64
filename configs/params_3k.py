"""At most 3,000 parameters: a first convolution, then three separable ones."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 2,870 parameters."""
    config = small.get_config()
    config.model.stem = 12
    config.model.stages = ((24,), (28, 24), ())
    config.model.convolution = 'separable'
    config.augment.strength = 0.5
    return config
