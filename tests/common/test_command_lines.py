from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.common.command_lines import arrange

FIELDS = st.sampled_from([
    '--config.seed=1', '--config.seed=2', '-config.seed=3', '--config.features=(4,4)',
    '--config.features=(8,)', '--noconfig.resume', '--config.resume=true',
])  # fmt: skip
OTHERS = st.sampled_from(['a.png', '--workdir=x', '--json', '-v', '--b=--odd', '-'])
WORDS = st.lists(FIELDS | OTHERS)


def fields_of(words):
    """What each field ends up as, if the last value counts."""
    found = {}
    for word in words:
        name, _, value = word.lstrip('-').partition('=')
        if name.startswith('noconfig.'):
            name, value = name.removeprefix('no'), 'false'
        if name.startswith('config.'):
            found[name] = value
    return found


@given(WORDS)
def test_the_last_value_of_each_field_and_all_other_words_are_kept_in_order(words):
    first, *arranged = arrange(['program', *words])
    assert first == 'program'
    fields = fields_of(words)
    assert arranged[: len(fields)] == [f'--{name}={of}' for name, of in fields.items()]
    is_other = ('a.png', '--workdir=x', '--json', '-v', '--b=--odd', '-')
    assert arranged[len(fields) :] == [word for word in words if word in is_other]


@given(WORDS)
def test_arranging_what_is_arranged_changes_nothing(words):
    arranged = arrange(['program', *words])
    assert arrange(arranged) == arranged


@given(WORDS, WORDS)
def test_nothing_behind_two_dashes_is_a_flag(words, behind):
    arranged = arrange(['program', *words, '--', *behind])
    assert arranged == [*arrange(['program', *words]), '--', *behind]


def test_values_may_be_words_of_their_own():
    assert arrange(['p', '--config.a', '-1', 'x', '--config', 'absent.py']) == [
        'p', '--config=absent.py', '--config.a=-1', 'x',
    ]  # fmt: skip
    assert arrange(['p', '--config.a', '--b']) == ['p', '--config.a', '--b']
    assert arrange(['p', '--config.a']) == ['p', '--config.a']
