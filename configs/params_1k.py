"""At most 1,000 parameters: a first convolution, then a separable one six times."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 970 parameters."""
    config = small.get_config()
    config.model.stem = 16
    config.model.stages = ((16, 16), (16, 16), (16, 16))
    config.model.convolution = 'shared'
    config.augment.strength = 0.5
    config.num_epochs = 60
    return config
