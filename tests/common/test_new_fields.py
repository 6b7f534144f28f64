"""Fields that a command line adds to a config: only where a function may take them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from mnist_flax.common import new_fields


def make_config():
    return ConfigDict(
        {
            'seed': 0,
            'model': {'constructor': 'm.create', 'features': (32, 64), 'inner': {'a': 1}},
            'dataset': {'name': 'mnist', 'extra': {}},
            'sweep': {},
            'metrics': {'norm': {'constructor': 'gradient_norm'}},
        }
    )


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('model.depth', True),
        ('dataset.extra.constructor', True),  # nothing is there yet
        ('sweep.optimizer.learning_rate', True),
        ('sweep.seed', True),  # which is refused later, with the reason
        ('metrics.ratio.constructor', True),
        ('metrics.norm.order', True),
        ('model.features', False),  # it is there
        ('sede', False),
        ('dataset.split', False),
        ('model.inner.b', False),
        ('model.depth.b', False),
        ('seed.b', False),
        ('optimiser.rate', False),
        ('sweep', False),
        ('metrics.', False),
        ('', False),
    ],
)
def test_where_fields_may_be_added(path, expected):
    assert new_fields.may_add(make_config(), path) == expected


PATHS = 'model.depth', 'sweep.model.depth', 'metrics.own.constructor', 'metrics.own.scale'
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text('abc./-', min_size=1).filter(lambda text: not text.startswith('-'))
values = plain | texts | st.tuples(plain, plain)


@given(st.dictionaries(st.sampled_from(PATHS), values | st.just('...')), st.data())
def test_what_is_given_is_what_the_config_gets(fields, data):
    """Beside other flags, in any order, with = or as the next argument."""
    others = ['--config=a.py', '--config.seed=3', '--workdir', 'outputs', 'positional']
    arguments = [[of] for of in others]
    for path, value in fields.items():
        flag = f'--config.{path}'
        with_equals = data.draw(st.booleans()) or str(value).startswith('--')
        arguments.append([f'{flag}={value}'] if with_equals else [flag, str(value)])
    arguments = data.draw(st.permutations(arguments))
    config = make_config()
    left, found = new_fields.take([word for of in arguments for word in of], config)
    assert sorted(left) == sorted(others)
    assert found == fields
    new_fields.add(config, found)
    for path, value in fields.items():
        subtree = config
        for name in path.split('.'):
            subtree = subtree[name]
        assert subtree == value
    assert config.seed == 0
