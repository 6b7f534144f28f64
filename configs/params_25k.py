"""At most 25,000 parameters: a first convolution, then four of 20 and 36 feature maps."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 24,830 parameters."""
    config = small.get_config()
    config.model.stem = 12
    config.model.stages = ((20, 20), (36, 36), ())
    return config
