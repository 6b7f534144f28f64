"""At most 10,000 parameters: four convolutions of 12 and 20 feature maps."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 8,454 parameters."""
    config = small.get_config()
    config.num_epochs = 60
    return config
