"""The same pipeline on Fashion-MNIST: articles of clothing in MNIST's format."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the default settings with another data set."""
    config = default.get_config()
    config.dataset.name = 'fashion_mnist'
    return config
