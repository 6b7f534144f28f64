"""Configs that train in a second, with some parts of a researcher's own."""

import json

from ml_collections import ConfigDict

from configs import default


def small(**parts):
    """A config that trains in a second, with some parts of `research_parts`."""
    config = default.get_config()
    config.num_epochs = 2
    config.num_devices = 1
    config.runs_at_once = 4
    config.batch_size = 50
    config.dataset.update({'train_split': 'train[:300]', 'test_split': 'test[:100]'})
    config.model = {'constructor': 'research_parts.Small'}
    for name, part in parts.items():
        config[name] = ConfigDict(part) if isinstance(part, dict) else part
    return config


def part(name, **fields):
    """A part of `research_parts`, with its arguments."""
    return {'constructor': f'research_parts.{name}', **fields}


def sweep_of(**fields):
    """The same, chosen on held-out images."""
    config = small(**fields)
    config.dataset.validation = 'holdout'
    config.dataset.holdout_size = 100
    return config


def read_lines(workdir):
    """Reads metrics.jsonl, without the one number that is never the same."""
    records = [json.loads(line) for line in (workdir / 'metrics.jsonl').open()]
    for record in records:
        record.pop('images_per_second', None)
    return records


SGD = part('momentum', learning_rate=0.05, decay=0.9)
