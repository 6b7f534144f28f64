"""Configs whose runs are several groups, their workers, and what these leave."""

import contextlib
import json

import pytest
from ml_collections import ConfigDict
from small_configs import read_lines, small

from mnist_flax.cluster import jobs
from mnist_flax.cluster.shared_runs import Runs
from mnist_flax.cluster.shared_workdirs import SharedWorkdir
from mnist_flax.common.worker import Worker

GROUPS = ['runs_0-1', 'runs_2-3', 'runs_4-4']  # of the population


def population():
    """Three groups: of two, two and one."""
    config = small(runs=5, log_every_steps=2)
    config.runs_at_once = 2
    return config


def sweep():
    """Three programs, of two groups each."""
    config = small(runs=3)
    config.runs_at_once = 2
    config.dataset.update({'validation': 'holdout', 'holdout_size': 100})
    config.sweep.batch_size = (20, 25, 50)
    return config


def ablation():
    """A recipe and two variants, of two groups each with three seeds."""
    config = ConfigDict({'recipe': small()})
    config.recipe.runs_at_once = 2
    config.recipe.dataset.update({'validation': 'holdout', 'holdout_size': 100})
    config.variants = {'small_batch': {'batch_size': 25}, 'ema': {'ema_decay': 0.9}}
    return config


def read_report(folder):
    """What is the same for all who have trained the runs."""
    numbers = json.loads((folder / 'metrics.json').read_text())
    numbers = {name: of for name, of in numbers.items() if 'second' not in name}
    return numbers, (folder / 'history.csv').read_text(), read_lines(folder)


def read_table(folder):
    """The same of an ablation: without the seconds."""
    lines = (folder / 'results.csv').read_text().splitlines()
    return [line.rpartition(',')[0] for line in lines]


def train_share(config, folder, worker):
    return jobs.train(Runs(config), folder, worker)


def gather(config, folder, only_finished=False):
    return jobs.gather(Runs(config), folder, only_finished)


def train_some(folder, config, names, number=0):
    """A worker that has time for these groups only."""
    with pytest.MonkeyPatch.context() as patch:
        hold = SharedWorkdir.hold
        skip = contextlib.nullcontext
        patch.setattr(
            SharedWorkdir,
            'hold',
            lambda self, name, *is_again: (
                hold(self, name, *is_again) if name in names else skip()
            ),
        )
        return train_share(config, str(folder), Worker(number, 3))
