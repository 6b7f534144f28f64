"""Config subtrees as arguments of functions: what fits is passed, the rest is one line."""

import importlib
import inspect
from typing import Any, Literal

import jax
import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Array, Float

from mnist_flax.common import renamed
from mnist_flax.common.constructors import construct, construct_named, digest_sources
from mnist_flax.common.errors import UserError

HERE = __name__

OWN_CODE = """
def helper():
    return {}

def create():
    return helper()

def get_config():
    return {}
"""


def build(
    size: int, rate: float, kind: Literal['a', 'b'] = 'a', widths: tuple[int, ...] = ()
):
    return size, rate, kind, widths


def build_freely(size, **fields):
    return size, fields


def build_own_part(part, size: int = 0):
    return part, size


def build_from_nothing():
    return ()


GOOD = {'size': 3, 'rate': 0.5}


def call(constructor=build, path='config.thing', fields=None, **others):
    fields = ml_collections.ConfigDict(GOOD if fields is None else fields)
    return construct(constructor, fields, path, **others)


def test_a_subtree_becomes_keyword_arguments():
    assert call() == (3, 0.5, 'a', ())
    assert call(fields={**GOOD, 'kind': 'b', 'widths': (1, 2)}) == (3, 0.5, 'b', (1, 2))
    rate = call(fields={**GOOD, 'rate': 1})[1]
    assert (rate, type(rate)) == (1, float)  # an int is a fine float


def test_any_field_suits_a_constructor_that_takes_any():
    assert call(build_freely, fields={'size': 'large', 'x': 1}) == ('large', {'x': 1})
    # What does not come from the config goes to those that take it.
    assert call(build_freely, fields={'size': 1}, names='ab') == (1, {'names': 'ab'})
    assert call(build, fields={'rate': 0.5}, size=7, names='ab') == (7, 0.5, 'a', ())


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'siz': 1}, "config.thing has no field 'siz'; its fields are size, rate, kind"),
        ({'size': '3'}, "config.thing.size: found '3'; allowed: int"),
        ({'size': True}, 'config.thing.size: found True; allowed: int'),
        (
            {'widths': (True, 64)},
            r'config.thing.widths: found \(True, 64\); allowed: tuple',
        ),
        ({'size': 1.5}, 'config.thing.size: found 1.5; allowed: int'),
        ({'rate': None}, 'config.thing.rate: found None; allowed: float'),
        ({'rate': 10**400}, 'config.thing.rate: found an integer that is too large'),
        ({'kind': 'c'}, "config.thing.kind: found 'c'; allowed: 'a', 'b'"),
        ({'widths': (1, 'x')}, r'config.thing.widths: found .* allowed: tuple\[int, ...\]'),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(fields, message):
    with pytest.raises(UserError, match=message):
        call(fields={**GOOD, **fields})


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'fields': {'size': 3}}, 'config.thing.rate is missing; allowed: float'),
        (
            {'size': 7},
            "config.thing has no field 'size'; its fields are rate, kind, widths",
        ),
        (
            {'constructor': build_from_nothing, 'fields': {'rate': 1}},
            "has no field 'rate'; it takes no fields",
        ),
        ({'constructor': build_freely, 'rate': 1}, "has no field 'rate'; its fields are s"),
        (
            {'path': 'config.dataset', 'fields': {'drawn': 5}},
            'config.dataset.drawn was replaced; use config.dataset.extra',
        ),
    ],
)
def test_a_wrong_subtree_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        call(**arguments)


@pytest.mark.parametrize(
    ('annotation', 'is_allowed'),
    [
        (int | None, False),
        (Float[Array, ''] | int, False),
        (jax.typing.ArrayLike, False),
        (bool | None, True),
        (bool | float, True),
        (Literal[True, 'auto'], True),
        (Any, True),
        (inspect.Parameter.empty, True),
    ],
)
def test_a_boolean_is_a_number_only_where_it_is_named(annotation, is_allowed):
    """As 1.0 it would be taken for a label smoothing, a momentum or a size."""

    def take(value):
        return value

    take.__annotations__ = {'value': annotation}
    if annotation is inspect.Parameter.empty:
        take.__annotations__ = {}
    if is_allowed:
        assert call(take, fields={'value': True}) is True
    else:
        with pytest.raises(UserError, match='config.thing.value: found True; allowed: in'):
            call(take, fields={'value': True})


def test_a_field_with_a_constructor_stands_for_what_that_returns():
    part = {**GOOD, 'constructor': f'{HERE}.build'}
    assert call(build_own_part, fields={'part': part}) == ((3, 0.5, 'a', ()), 0)
    with pytest.raises(
        UserError, match=r'config.thing.part.size: found .big.; allowed: in'
    ):
        call(build_own_part, fields={'part': {**part, 'size': 'big'}})


def fail():
    raise KeyError('colour')


def test_a_constructor_that_fails_is_named_with_its_line():
    with pytest.raises(UserError, match=r'config.thing: calling fail fails \(.*test_const'):
        call(fail, fields={})


def test_a_name_without_a_module_is_looked_for_at_home():
    settings = ml_collections.ConfigDict({**GOOD, 'constructor': 'build'})
    assert construct_named(settings, 'config.thing', HERE) == (3, 0.5, 'a', ())
    settings.constructor = 'bild'
    with pytest.raises(UserError, match="found 'bild' .* or one of 'build', "):
        construct_named(settings, 'config.thing', HERE)


def test_a_value_in_place_of_a_subtree_is_refused():
    with pytest.raises(UserError, match=r'config.thing: found 3; allowed: a ConfigDict$'):
        construct(build_from_nothing, 3, 'config.thing')
    with pytest.raises(UserError, match='found 3; .* with the fields size, rate, kind'):
        construct(build, 3, 'config.thing')


def test_a_constructor_is_named_by_module_and_function():
    settings = ml_collections.ConfigDict({**GOOD, 'constructor': f'{HERE}.build'})
    assert construct_named(settings, 'config.thing') == (3, 0.5, 'a', ())


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (None, 'found None; allowed: a function that can be imported'),
        ('build', "found 'build'; allowed"),
        ('.module.build', "found '.module.build'; allowed"),
        ('no_such_module.build', r'\(ModuleNotFoundError: No module .*\); allowed'),
        (f'{HERE}.no_such', r'\(AttributeError: .*\); allowed'),
        (f'{HERE}.GOOD', r'\(TypeError: .*\); allowed'),
        *(
            (old, f'{old!r} has moved; use {new!r}')
            for old, new in renamed.CONSTRUCTORS.items()
        ),
    ],
)
def test_what_cannot_construct_is_one_line(name, message):
    settings = ml_collections.ConfigDict({'constructor': name})
    with pytest.raises(UserError, match=f'^config.thing.constructor: .*{message}'):
        construct_named(settings, 'config.thing')


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


@given(st.dictionaries(st.sampled_from([*GOOD, 'kind', 'other']), ANYTHING))
def test_any_config_either_fits_or_ends_in_one_line(fields):
    try:
        call(fields={**GOOD, **fields})
    except UserError as error:
        assert str(error).startswith('config.thing')
        assert '\n' not in str(error)
    else:
        assert 'other' not in fields
        assert all(type(fields.get(name, 0)) in (int, float) for name in GOOD)


def test_a_function_is_edited_if_what_it_calls_is(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / 'own_code.py'
    path.write_text(OWN_CODE.format(1, 1))
    function = importlib.import_module('own_code').create
    before = digest_sources([function, dict.fromkeys, map])
    assert before.keys() == {'own_code'}
    path.write_text(OWN_CODE.format(1, 2))  # its config is compared by itself
    assert digest_sources([function]) == before
    path.write_text(OWN_CODE.format(2, 1))
    assert digest_sources([function]) != before
