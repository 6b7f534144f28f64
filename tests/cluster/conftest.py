"""Workdirs of a single process to compare with, and quick reports."""

import pytest

from mnist_flax.cluster import working
from mnist_flax.train import train_and_evaluate


def without_figures(patch):
    from mnist_flax.reporting import reports

    patch.setattr(reports, 'render_figures', lambda dataset, results: {})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    without_figures(monkeypatch)
    monkeypatch.setattr(working, '_PAUSE_SECONDS', 0.0)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """A workdir of one process, by the function that makes the config."""
    made = {}

    def train(make_config):
        if make_config not in made:
            made[make_config] = tmp_path_factory.mktemp('alone')
            with pytest.MonkeyPatch.context() as patch:
                without_figures(patch)
                train_and_evaluate(make_config(), str(made[make_config]))
        return made[make_config]

    return train
