"""At most 10,000 parameters: a first convolution, then four of 12 and 20 feature maps."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 8,454 parameters."""
    return small.get_config()
