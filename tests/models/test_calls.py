"""A model is called with those arguments that its ``__call__`` names."""

import pytest
from flax import linen as nn

from mnist_flax.models import CNN, calls

EVAL = {'train': False, 'deterministic': True}
TRAIN = {'train': True, 'deterministic': False, 'dropout': None, 'axis_name': 'data'}


class Everything(nn.Module):
    @nn.compact
    def __call__(self, x, axis_name, dropout, deterministic, train):
        return x


class Deterministic(nn.Module):
    def __call__(self, x, *, deterministic=True, training=False):
        return x


@pytest.mark.parametrize(
    ('model', 'names'),
    [
        (CNN((4,), 8, 10, 'xla', 'float32'), {'train', 'dropout', 'axis_name'}),
        (Everything(), {*TRAIN}),
        (Deterministic(), {'deterministic'}),
        (nn.Dense(10), set()),
        (nn.Sequential([nn.Dense(10)]), set()),  # takes **kwargs, which name nothing
    ],
)
def test_a_model_gets_by_name_what_it_takes(model, names):
    evaluated = {name: EVAL[name] for name in names & {*EVAL}}
    assert calls.eval_arguments(model) == evaluated
    trained = {name: TRAIN[name] for name in names}
    assert calls.train_arguments(model, dropout=None, axis_name='data') == trained
