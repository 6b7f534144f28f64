"""Configs of few images, to be planned."""

from ml_collections import ConfigDict

from configs import default


def short(config=None):
    """A config, the default if none, with few images."""
    config = config or default.get_config()
    config.dataset.update({'train_split': 'train[:300]', 'test_split': 'test[:50]'})
    return config


def swept(config, values, **fields):
    """The same, with a sweep."""
    config = short(config)
    config.dataset.update(validation='holdout', holdout_size=20)
    sweep = config.sweep
    for path, of in values.items():
        change(sweep, path, of)
    config.update(fields)
    return config


def change(config, path, value):
    """Sets a field of a config, or adds it."""
    *parents, field = path.split('.')
    for parent in parents:
        if parent not in config:
            with config.unlocked():
                config[parent] = ConfigDict()
        config = config[parent]
    with config.unlocked(), config.ignore_type():
        config[field] = value
