"""Configs of random types and values: each either runs or ends in one clear line."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import default
from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate
from mnist_flax.training.plan import Plan, make_plans


def tiny():
    config = default.get_config()
    config.num_epochs = 1
    config.dataset.update({'train_split': 'train[:200]', 'test_split': 'test[:50]'})
    config.model.update({'features': (2,), 'hidden_size': 4, 'conv': 'xla'})
    return config


def list_fields(config, path=()):
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from list_fields(value, (*path, name))
        else:
            yield '.'.join((*path, name))


FIELDS = sorted(list_fields(tiny()))
FIELDS += [  # that may be added
    'loss.label_smoothing', 'optimizer.momentum', 'schedule.warmup', 'schedule.every',
    'sweep.optimizer.learning_rate', 'sweep.model.features', 'metrics.norm.constructor',
    'evaluators.strangers.every_epochs',
]  # fmt: skip
SUBTREES = (
    'dataset', 'model', 'loss', 'optimizer', 'schedule', 'augment', 'metrics', 'evaluators',
    'writers', 'sweep', 'checkpoint',
)  # fmt: skip


def change(config, path, value):
    *parents, field = path.split('.')
    for parent in parents:
        with config.unlocked():
            found = config.get(parent, ConfigDict())
            if not isinstance(found, ConfigDict):
                return
            config[parent] = found
        config = found
    with config.unlocked(), config.ignore_type():
        config[field] = value


numbers = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**31, 2**32, 2**63])
leaves = st.none() | st.booleans() | numbers | st.text(max_size=6)
values = leaves | st.lists(leaves, max_size=3).map(tuple) | st.builds(ConfigDict)
places = st.sampled_from([*FIELDS, *SUBTREES])
changes = st.dictionaries(places, values, min_size=1, max_size=3)


def make(changes):
    config = tiny()
    for path, value in changes.items():
        change(config, path, value)
    return config


def assert_one_clear_line(error):
    message = str(error)
    assert 'config' in message
    assert message.isprintable()  # on one line
    assert len(message) < 1000


@settings(max_examples=100)
@example({'runs': 10**9})
@example({'num_epochs': 10**12})
@example({'model.hidden_size': 10**9})
@example({'model.features': (2**40,)})
@example({'sweep.optimizer.learning_rate': tuple(range(1, 100)), 'runs': 10**6})
@example({'sweep.model.features': ((2,), None), 'dataset.validation': 'holdout'})
@example({'optimizer.learning_rate': 1})
@example({'dataset.data_dir': '\0'})
@example({'model.num_classes': False})
@example({'model.num_classes': 0.0})
@given(changes)
def test_a_config_is_a_plan_or_one_clear_line(changes):
    try:
        assert all(isinstance(plan, Plan) for plan in make_plans(make(changes)))
    except UserError as error:
        assert_one_clear_line(error)


def near(value):
    """Values that may well be allowed where ``value`` is."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, float):
        return st.floats(0, 2) | st.sampled_from([1e-30, 1e30, 1e300, float('inf')])
    if isinstance(value, int):
        return st.integers(0, 9)
    if isinstance(value, tuple):
        return st.lists(st.integers(1, 5) | st.floats(0, 1), max_size=2).map(tuple)
    if value is None:  # of a field that may be added
        return st.floats(0, 2) | st.tuples(st.floats(0, 1), st.floats(0, 1))
    return st.sampled_from(
        ['adamw', 'sgd', 'lion', 'lamb', 'constant', 'onecycle', 'focal', 'xla',
         'bfloat16', 'holdout']
    )  # fmt: skip


def get(path):
    value = tiny()
    for name in path.split('.'):
        value = value.get(name, {})
    return value or None


nearly_right = st.lists(
    st.sampled_from(FIELDS), min_size=1, max_size=4, unique=True
).flatmap(lambda paths: st.fixed_dictionaries({path: near(get(path)) for path in paths}))


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nearly_right)
def test_what_is_accepted_runs_or_ends_in_one_clear_line(tmp_path_factory, changes):
    workdir = tmp_path_factory.mktemp('any')
    try:
        train_and_evaluate(make(changes), str(workdir))
    except UserError as error:
        message = str(error)
        assert message.startswith(('config', 'training diverged in epoch 1 at step '))
        assert_one_clear_line(error)
    else:
        assert (workdir / 'metrics.json').exists()
