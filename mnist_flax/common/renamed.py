"""The names that earlier versions used, so that their runs can still be used."""

from typing import Any

# Functions that a config names as a ``constructor``.
CONSTRUCTORS = {
    'mnist_flax.augment.create_augment': 'mnist_flax.data.augment.create_augment',
    'mnist_flax.handwriting.create_handwriting': (
        'mnist_flax.recognition.handwriting.create_handwriting'
    ),
    'mnist_flax.recognition.drawing.draw_examples': (
        'mnist_flax.drawing.examples.draw_examples'
    ),
}

# Where fields of a config are now, of those that have moved.
_MOVED = {
    'label_smoothing': 'loss.label_smoothing',
    'optimizer.name': 'optimizer.constructor',
    'optimizer.schedule': 'schedule.constructor',
    'optimizer.warmup': 'schedule.warmup',
    'sweep.learning_rate': 'sweep.optimizer.learning_rate',
    'sweep.weight_decay': 'sweep.optimizer.weight_decay',
    'sweep.label_smoothing': 'sweep.loss.label_smoothing',
    'sweep.dropout_rate': 'sweep.model.dropout_rate',
    'sweep.augment_strength': 'sweep.augment.strength',
}

# Fields of a config, and what replaces them.
FIELDS = {
    **{f'config.{old}': f'config.{new}' for old, new in _MOVED.items()},
    'config.dataset.drawn': (
        'config.dataset.extra, with constructor = '
        "'mnist_flax.drawing.examples.draw_examples' and number"
    ),
}

# How the names of a checkpoint's arrays start.
_ARRAYS = {
    'state.average.': 'state.ema.',
    'state.batch_stats.': 'state.model_state.batch_stats.',
}


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config, as plain values, with today's names."""
    config = _copy(config)
    dataset = config.get('dataset')
    if isinstance(dataset, dict) and 'drawn' in dataset:
        number = dataset.pop('drawn')
        constructor = 'mnist_flax.drawing.examples.draw_examples'
        dataset['extra'] = {'constructor': constructor, 'number': number} if number else {}
    for old, new in _MOVED.items():
        *parents, field = old.split('.')
        tree: Any = config
        for parent in parents:
            tree = tree.get(parent) if isinstance(tree, dict) else None
        if not isinstance(tree, dict) or field not in tree:
            continue
        value = tree.pop(field)
        # What was not set is absent now.
        if value or new.endswith('.constructor'):
            *parents, field = new.split('.')
            tree = config
            for parent in parents:
                tree = tree.setdefault(parent, {})
            tree[field] = value
    return config


def _copy(tree: dict[str, Any]) -> dict[str, Any]:
    copied = {
        name: _copy(value) if isinstance(value, dict) else value
        for name, value in tree.items()
    }
    if isinstance(name := copied.get('constructor'), str):
        copied['constructor'] = CONSTRUCTORS.get(name, name)
    return copied


def upgrade_arrays(arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a checkpoint by today's names."""
    renamed = {}
    for name, array in arrays.items():
        for old, new in _ARRAYS.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        renamed[name] = array
    return renamed
