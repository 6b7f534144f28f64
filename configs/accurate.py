"""The brief's own network, as accurate as we could honestly make it: a longer training."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the default settings with augmentation, dropout, one-cycle and an average."""
    config = default.get_config()
    config.num_epochs = 50
    config.ema_decay = 0.999
    config.model.dropout_rate = 0.3
    config.optimizer.learning_rate = 4e-3
    config.optimizer.schedule = 'onecycle'
    config.optimizer.warmup = 0.3
    config.augment.rotation = 12.0
    config.augment.scale = 0.1
    config.augment.shear = 0.15
    config.augment.shift = 2.0
    return config
