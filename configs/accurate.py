"""The best accuracy of the default network in one pass: a longer training."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the default settings with augmentation, dropout, one-cycle and an EMA."""
    config = default.get_config()
    config.num_epochs = 40
    config.batch_size = 64
    config.ema_decay = 0.999
    config.model.dropout_rate = 0.35
    config.optimizer.learning_rate = 3e-3
    config.schedule = ConfigDict({'constructor': 'onecycle', 'warmup': 0.3})
    config.augment.rotation = 10.0
    config.augment.scale = 0.12
    config.augment.shear = 0.1
    config.augment.shift = 1.5
    return config
