"""99.5 % test accuracy in little time: five epochs, with some augmentation."""

from ml_collections import ConfigDict

from configs import default, fast


def get_config() -> ConfigDict:
    """Returns the settings of `fast` for the default network and more epochs."""
    config = fast.get_config()
    config.num_epochs = 5
    config.model.features = default.get_config().model.features
    config.augment.rotation = 5.0
    config.augment.scale = 0.06
    config.augment.shear = 0.05
    config.augment.shift = 0.75
    return config
