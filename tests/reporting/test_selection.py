"""The ranking of a sweep: who is best, what cannot be told apart, how it is written."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_sweep import ACCURACIES, RATE, make_points

from mnist_flax.common import tables
from mnist_flax.reporting import selection
from mnist_flax.reporting.selection import Point


def rows_of(table):
    lines = [line for line in table.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]


def test_the_table_by_hand():
    """If a number here changes, so do the statistics: find out why before updating it."""
    header, _, *rows = rows_of(selection.to_markdown(selection.rank(make_points())))
    assert header == [
        'learning_rate', 'held-out accuracy, %', '95 % interval',
        'difference, points (95 % interval)', 'adjusted p', 'verdict', 'n',
    ]  # fmt: skip
    assert rows == [
        ['0.002', '99.12 ± 0.03', '99.08 to 99.16', '–', '–', 'best', '4'],
        [
            '0.001', '99.10 ± 0.02', '99.07 to 99.13', '-0.02 (-0.06 to +0.02)', '0.201',
            'not distinguishable from the best', '4',
        ],
        [
            '0.0005', '98.84 ± 0.04', '98.78 to 98.90', '-0.28 (-0.37 to -0.19)', '0.004',
            'worse', '4',
        ],
        ['0.1', '99.51 ± 0.01', '99.49 to 99.53', '–', '–', 'diverged', '3 (1 diverged)'],
        ['1', '–', '–', '–', '–', 'diverged', '0 (4 diverged)'],
    ]  # fmt: skip


def test_p_values_are_scipy_s_paired_test_with_holm_s_correction():
    best, *others = selection.rank(make_points())[:3]
    p_values = [
        scipy.stats.ttest_rel([*of.accuracies.values()], [*best.accuracies.values()]).pvalue
        for of in others
    ]
    assert p_values[1] < p_values[0]
    found = [of.p_value for of in others]
    assert found == pytest.approx([p_values[0], 2 * p_values[1]])


def test_where_all_points_lost_runs_the_best_is_one_with_the_fewest():
    accuracies = {1: [0.9, math.nan], 2: [math.nan] * 2, 3: [math.nan, 0.95]}
    ranked = selection.rank(make_points(accuracies))
    assert [of.values[RATE] for of in ranked] == [3, 1, 2]
    assert [of.verdict for of in ranked] == ['best', 'diverged', 'diverged']
    choice = selection.describe_choice(ranked)
    assert choice.endswith('learning_rate=3 (95.00 %; 1 of 2 runs diverged)')
    nothing = selection.rank(make_points({1: [math.nan], 2: [math.nan]}))
    assert {of.verdict for of in nothing} == {'diverged'}
    choice = selection.describe_choice(nothing)
    assert choice == 'nothing was chosen: all runs diverged'


def test_equal_points_stay_in_the_order_of_the_sweep():
    # The sums of these differ by rounding.
    accuracies = {1: [0.27, 0.04, 0.64], 2: [0.04, 0.64, 0.27]}
    ranked = selection.rank(make_points(accuracies))
    assert [of.position for of in ranked] == [0, 1]


@pytest.mark.parametrize(('num_seeds', 'runs'), [(1, 'One run'), (2, '2 runs')])
def test_too_few_seeds_give_a_ranking_and_say_what_more_would_show(num_seeds, runs):
    accuracies = {x: of[:num_seeds] for x, of in ACCURACIES.items() if x < 0.01}
    ranked = selection.rank(make_points(accuracies))
    assert [of.verdict for of in ranked] == ['best', 'no verdict', 'no verdict']
    table = selection.to_markdown(ranked)
    header, *_ = rows_of(table)
    assert ('95 % interval' in header) == (num_seeds > 1)
    assert 'adjusted p' not in header
    note = f'{runs} each: config.runs=3 or more would show which differences are more than'
    assert note in table
    assert note in selection.to_text(ranked)
    assert note not in selection.to_text(selection.rank(make_points()))


# Counts of 1000 images, as accuracies are.
COUNTS = st.integers(900, 1000).map(lambda count: count / 1000)
SWEEPS = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.one_of(COUNTS, st.just(math.nan)), min_size=shape[0], max_size=shape[0]
        ),
        min_size=shape[1],
        max_size=shape[1],
    )
)


@settings(max_examples=50)
@given(SWEEPS)
def test_the_order_the_verdicts_and_the_json_of_any_sweep(accuracies):
    points = make_points(dict(enumerate(accuracies)))
    ranked = selection.rank(points)
    assert sorted(of.position for of in ranked) == list(range(len(points)))
    assert all(of.values == points[of.position].values for of in ranked)
    keys = [(of.num_diverged, -of.summary.mean) for of in ranked if of.summary]
    assert np.all(np.diff([key[0] for key in keys]) >= 0)
    for (n, mean), (next_n, next_mean) in itertools.pairwise(keys):
        assert n < next_n or mean <= next_mean + 1e-9
    dead = [of.summary is None for of in ranked]
    assert dead == sorted(dead)  # last
    for of in ranked[1:]:
        assert (of.verdict == 'diverged') == (of.num_diverged > 0)
        if of.p_value is not None:
            assert of.difference.p_value <= of.p_value <= 1
            assert of.difference.mean <= 1e-9
            assert (of.verdict == 'worse') == (of.p_value < 0.05)
    judged = [of for of in ranked if of.p_value is not None]
    judged.sort(key=lambda of: of.difference.p_value)
    assert np.all(np.diff([of.p_value for of in judged]) >= 0)
    written = json.loads(tables.to_json(selection.to_json(ranked)))
    again = selection.from_json(written)
    assert selection.to_markdown(again) == selection.to_markdown(ranked)
    assert selection.describe_choice(again) == selection.describe_choice(ranked)


@settings(max_examples=50)
@given(SWEEPS, st.randoms(use_true_random=False))
def test_neither_the_order_of_points_nor_of_seeds_changes_a_verdict(accuracies, random):
    points = make_points(dict(enumerate(accuracies)))
    ranked = selection.rank(points)
    tops = [of for of in ranked if of.num_diverged == ranked[0].num_diverged]
    means = {round(of.summary.mean, 9) for of in tops if of.summary}
    if len(means) < len(tops):
        return  # which of equal points is the best depends on their order
    seeds = list(range(len(accuracies[0])))
    random.shuffle(seeds)
    shuffled = [
        Point(of.values, {seed: of.accuracies[i] for i, seed in enumerate(seeds)})
        for of in points
    ]
    random.shuffle(shuffled)
    found = {of.values[RATE]: of for of in selection.rank(shuffled)}
    for of in ranked:
        other = found[of.values[RATE]]
        if of.p_value is not None and abs(of.p_value - 0.05) < 1e-9:
            continue
        assert other.verdict == of.verdict
        assert other.p_value == pytest.approx(of.p_value)


def test_what_the_explanation_says_of_equal_points():
    """Of five equal points some are called worse in 8 % of sweeps, the first in < 3 %."""
    sweeps = np.random.default_rng(0).normal(0.99, 0.001, (120, 5, 5))
    worse = [
        {of.position for of in selection.rank(make_points(dict(enumerate(sweep))))
         if of.verdict == 'worse'}
        for sweep in sweeps
    ]  # fmt: skip
    assert 0.02 < np.mean([bool(of) for of in worse]) < 0.14
    assert np.mean([0 in of for of in worse]) < 0.05


def test_fields_and_values_are_named_as_briefly_as_is_clear():
    sgd = {'constructor': 'optax.sgd', 'momentum': 0.9, 'nesterov': True}
    values = [
        {RATE: 0.001, 'model.rate': 0.5, 'augment.rate': None, 'rate': 2},
        {RATE: 1e-05, 'optimizer': sgd, 'model.features': (32, 64)},
    ]
    assert [*selection.name_fields(values).values()] == [
        'learning_rate', 'model.rate', 'augment.rate', 'rate', 'optimizer', 'features',
    ]  # fmt: skip
    assert selection.name_points(values) == [
        'learning_rate=0.001, model.rate=0.5, augment.rate=None, rate=2',
        'learning_rate=1e-05, optimizer=optax.sgd(momentum=0.9, nesterov=True), '
        'features=(32, 64)',
    ]
    points = [Point(of, {0: 0.9}) for of in values]
    assert rows_of(selection.to_markdown(selection.rank(points)))[3][:3] == [
        '1e-05', '–', '–',
    ]  # fmt: skip


def test_a_name_cannot_break_the_table():
    points = [Point({'a': 'x|y'}, {0: 0.9})]
    assert '| x\\|y |' in selection.to_markdown(selection.rank(points))


def test_the_terminal_gets_ten_points_and_the_count_of_the_others():
    points = make_points({x: [0.9 + x / 1000] for x in range(13)})
    lines = selection.to_text(selection.rank(points)).splitlines()
    assert lines[0].split() == [
        'learning_rate',
        'held-out',
        'accuracy,',
        '%',
        'verdict',
        'n',
    ]
    assert [line.split()[0] for line in lines[1:11]] == [str(x) for x in range(12, 2, -1)]
    assert lines[11] == '... and 3 more in runs.md'
    start = lines[0].index('held-out')
    assert {line[start - 1 : start + 2] for line in lines[1:11]} == {' 90', ' 91'}


def test_the_choice_names_what_cannot_be_told_apart_from_it():
    assert selection.describe_choice(selection.rank(make_points())) == (
        'chosen by held-out accuracy: learning_rate=0.002 (99.12 ± 0.03 %); not '
        'distinguishable from it: learning_rate=0.001'
    )
    noise = np.random.default_rng(0).normal(0.99, 0.01, (7, 3))
    choice = selection.describe_choice(selection.rank(make_points(dict(enumerate(noise)))))
    assert choice.endswith('; 3 more')
    assert choice.count('learning_rate=') == 4
