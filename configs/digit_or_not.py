"""Networks that tell digits from other things, for pictures of whole pages."""

from ml_collections import ConfigDict

from configs import robust


def get_config() -> ConfigDict:
    """Returns the robust settings, for a smaller network and a data set that is drawn."""
    config = robust.get_config()
    config.num_epochs = 10
    config.runs = 2
    config.dataset.name = 'digit_or_not'
    config.dataset.extra = ConfigDict()
    config.model.num_classes = 2
    config.model.hidden_size = 64
    config.model.dropout_rate = 0.1
    config.augment.scale = 0.1
    config.augment.shift = 1.0
    return config
