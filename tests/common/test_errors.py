from typing import Literal

import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.common import errors


def build(size: int, rate: float, kind: Literal['a', 'b'], widths: tuple[int, ...]):
    return size, rate, kind, widths


GOOD = {'size': 3, 'rate': 0.5, 'kind': 'a', 'widths': (1, 2)}


def construct(**changes):
    config = ml_collections.ConfigDict({**GOOD, **changes})
    return errors.construct(build, config, 'config.thing')


def test_a_subtree_becomes_keyword_arguments():
    assert construct() == (3, 0.5, 'a', (1, 2))
    assert construct(rate=1) == (3, 1, 'a', (1, 2))  # an int is a fine float


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'siz': 1}, "config.thing has no field 'siz'; its fields are size, rate, kind"),
        ({'size': '3'}, "config.thing.size: found '3'; allowed: int"),
        ({'size': True}, 'config.thing.size: found True; allowed: int'),
        ({'size': 1.5}, 'config.thing.size: found 1.5; allowed: int'),
        ({'rate': None}, 'config.thing.rate: found None; allowed: float'),
        ({'kind': 'c'}, "config.thing.kind: found 'c'; allowed: 'a', 'b'"),
        ({'widths': (1, 'x')}, r'config.thing.widths: found .* allowed: tuple\[int, ...\]'),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(changes, message):
    with pytest.raises(errors.UserError, match=message):
        construct(**changes)


def test_other_arguments_are_passed_on_and_are_no_fields():
    config = ml_collections.ConfigDict({'rate': 0.5, 'kind': 'a', 'widths': ()})
    assert errors.construct(build, config, 'config.thing', size=7)[0] == 7
    config.size = 3
    with pytest.raises(errors.UserError, match="config.thing has no field 'size'"):
        errors.construct(build, config, 'config.thing', size=7)


def test_a_field_with_a_default_may_be_missing_and_one_without_a_type_be_anything():
    def build(size, rate: float = 0.5):
        return size, rate

    config = ml_collections.ConfigDict({'size': 'large'})
    assert errors.construct(build, config, 'config.thing') == ('large', 0.5)
    config.rate = 'low'
    with pytest.raises(errors.UserError, match="config.thing.rate: found 'low'; allowed"):
        errors.construct(build, config, 'config.thing')


def test_a_missing_field_is_named():
    config = ml_collections.ConfigDict({'size': 3})
    with pytest.raises(errors.UserError, match='config.thing.rate is missing'):
        errors.construct(build, config, 'config.thing')


def test_a_value_in_place_of_a_subtree_is_refused():
    with pytest.raises(
        errors.UserError, match='config.thing: found 3; allowed: a ConfigDict'
    ):
        errors.construct(build, 3, 'config.thing')


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


@given(st.dictionaries(st.sampled_from([*GOOD, 'other']), ANYTHING))
def test_any_config_either_fits_or_ends_in_one_line(changes):
    try:
        construct(**changes)
    except errors.UserError as error:
        assert str(error).startswith('config.thing')
        assert '\n' not in str(error)
    else:
        assert 'other' not in changes
        assert all(type(changes.get(name, 0)) in (int, float) for name in ('size', 'rate'))
