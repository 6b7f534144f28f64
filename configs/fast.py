"""99 % test accuracy in little time: one epoch of a smaller network."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the default settings with batch norm, label smoothing and a higher rate."""
    config = default.get_config()
    config.num_epochs = 1
    config.batch_size = 64
    config.model.features = (16, 32)
    config.model.batch_norm = True
    config.loss.label_smoothing = 0.1  # of a label's probability, for all classes
    config.optimizer.learning_rate = 1e-2
    config.schedule.warmup = 0.2  # part of the steps in which the rate rises
    return config
