"""Which ingredients of `accurate` help: each is taken away, or exchanged, by itself."""

from ml_collections import ConfigDict

from configs import accurate


def get_config() -> ConfigDict:
    """Returns the recipe, and what each variant changes in it."""
    config = ConfigDict()
    config.recipe = accurate.get_config()
    config.recipe.num_epochs = 4  # shortened: 102 runs take 45 minutes on 2 cores
    config.recipe.dataset.validation = 'holdout'
    config.recipe.dataset.holdout_size = 10000

    config.variants = ConfigDict()
    config.variants.no_augmentation = {'augment': {'strength': 0.0}}
    config.variants.no_rotation = {'augment': {'rotation': 0.0}}
    config.variants.no_scale = {'augment': {'scale': 0.0}}
    config.variants.no_shear = {'augment': {'shear': 0.0}}
    config.variants.no_shift = {'augment': {'shift': 0.0}}
    config.variants.no_dropout = {'model': {'dropout_rate': 0.0}}
    config.variants.no_average = {'ema_decay': 0.0}
    config.variants.constant_rate = {
        'optimizer': {'learning_rate': 1e-3},
        'schedule': {'constructor': 'constant'},
    }
    config.variants.batch_norm = {'model': {'batch_norm': True}}
    config.variants.elastic = {'augment': {'elastic': 0.5}}
    config.variants.sgd = {
        'optimizer': {
            'constructor': 'sgd',
            'learning_rate': 0.05,  # the best of a sweep: docs/ablation.md
            'momentum': 0.9,
            'nesterov': True,
        }
    }
    config.variants.label_smoothing = {'loss': {'label_smoothing': 0.1}}
    config.variants.focal_loss = {'loss': {'constructor': 'focal'}}
    config.variants.squared_error = {'loss': {'constructor': 'mean_squared_error'}}
    # Adam's learning rate goes with the square root of the batch size (Malladi et al. 2022,
    # arXiv 2205.10287), and the EMA spans as many examples as before.
    for batch_size in (32, 256):
        ratio = batch_size / config.recipe.batch_size
        config.variants[f'batch_{batch_size}'] = {
            'batch_size': batch_size,
            'ema_decay': config.recipe.ema_decay**ratio,
            'optimizer': {
                'learning_rate': config.recipe.optimizer.learning_rate * ratio**0.5
            },
        }
    return config
