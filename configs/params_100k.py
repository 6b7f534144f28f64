"""At most 100,000 parameters: a first convolution, then four of 40 and 72 maps."""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """Returns the settings of `small` for a network of 99,402 parameters."""
    config = small.get_config()
    config.model.stem = 24
    config.model.stages = ((40, 40), (72, 72))
    config.optimizer.learning_rate = 4e-3
    return config
