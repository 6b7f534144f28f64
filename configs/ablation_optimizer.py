"""Adam against SGD with momentum, each at its best learning rate of a sweep."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the default settings with Adam as the recipe, and SGD as its variant."""
    config = ConfigDict()
    config.recipe = default.get_config()
    config.recipe.num_epochs = 3
    config.recipe.optimizer.learning_rate = 8e-3
    config.recipe.dataset.validation = 'holdout'
    config.recipe.dataset.holdout_size = 10000

    config.variants = ConfigDict()
    config.variants.sgd_momentum = {
        'optimizer': {
            'constructor': 'sgd',
            'learning_rate': 0.1,
            'momentum': 0.9,
            'nesterov': True,
        }
    }
    return config
