"""The names that earlier versions used, so that their runs can still be used."""

from typing import Any

# Functions that a config names as a ``constructor``.
CONSTRUCTORS = {
    'mnist_flax.augment.create_augment': 'mnist_flax.data.augment.create_augment',
    'mnist_flax.handwriting.create_handwriting': (
        'mnist_flax.recognition.handwriting.create_handwriting'
    ),
}

# Fields of a config, and what replaces them.
FIELDS = {
    'config.dataset.drawn': (
        'config.dataset.extra, with constructor = '
        "'mnist_flax.recognition.drawing.draw_examples' and number"
    ),
}

# How the names of a checkpoint's arrays start.
_ARRAYS = {
    'state.average.': 'state.ema.',
    'state.batch_stats.': 'state.model_state.batch_stats.',
}


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config, as plain values, with today's names."""
    config = {
        name: upgrade_config(value) if isinstance(value, dict) else value
        for name, value in config.items()
    }
    if isinstance(name := config.get('constructor'), str):
        config['constructor'] = CONSTRUCTORS.get(name, name)
    dataset = config.get('dataset')
    if isinstance(dataset, dict) and 'drawn' in dataset:
        number = dataset.pop('drawn')
        constructor = 'mnist_flax.recognition.drawing.draw_examples'
        dataset['extra'] = {'constructor': constructor, 'number': number} if number else {}
    return config


def upgrade_arrays(arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a checkpoint by today's names."""
    renamed = {}
    for name, array in arrays.items():
        for old, new in _ARRAYS.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        renamed[name] = array
    return renamed
