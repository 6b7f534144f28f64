import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.common import tables


def test_text_has_a_line_a_value():
    tree = {
        'accuracy': 0.99123456789,
        'interval': (0.98, 0.995),
        'seeds': [3, 4],
        'points': [{'rate': 0.1, 'spread': {'sd': 1}}, {'rate': 0.2}],
        'device': 'cpu',
        'none': [],
    }
    assert tables.to_text(tree).splitlines() == [
        'accuracy: 0.991235',
        'interval: 0.98 to 0.995',
        'seeds: 3, 4',
        'points.0.rate: 0.1',
        'points.0.spread.sd: 1',
        'points.1.rate: 0.2',
        'device: cpu',
    ]


def test_markdown_rules_the_header_off():
    assert tables.to_markdown([['a', 'b'], ['1', '2']]) == (
        '| a | b |\n| --- | --- |\n| 1 | 2 |\n'
    )


@given(st.lists(st.tuples(st.text('ab,"\n', min_size=1), st.floats(allow_nan=False))))
def test_csv_keeps_what_it_is_given(rows):
    text = tables.to_csv(['name', 'value'], rows)
    header, *found = csv.reader(io.StringIO(text, newline=''))
    assert header == ['name', 'value']
    assert [(name, float(value)) for name, value in found] == rows


def test_in_csv_what_is_no_number_is_an_empty_cell():
    assert tables.to_csv(['a', 'b'], [(float('nan'), None)]) == 'a,b\n,\n'


def test_json_has_no_nan():
    assert json.loads(tables.to_json({'a': (1, 2.5)})) == {'a': [1, 2.5]}
    odd = {'a': [float('nan'), {'b': float('-inf')}]}
    assert json.loads(tables.to_json(odd)) == {'a': [None, {'b': None}]}
