import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.common import intervals

SAMPLES = st.lists(st.floats(0.9, 1.0), min_size=2, max_size=30).filter(
    lambda values: np.std(values) > 1e-6
)


def test_a_summary_by_hand():
    summary = intervals.summarize([1.0, 2.0, 3.0, 4.0, 5.0])
    assert summary[:2] == (5, 3.0)
    assert summary.sd == pytest.approx(math.sqrt(2.5))
    assert (summary.min, summary.max) == (1.0, 5.0)
    # 2.7764 is the 97.5 % point of Student's t with 4 degrees of freedom, from a table.
    half = 2.7764 * math.sqrt(2.5 / 5)
    assert summary.low == pytest.approx(3 - half, rel=1e-4)
    assert summary.high == pytest.approx(3 + half, rel=1e-4)


@given(SAMPLES)
def test_the_interval_is_scipy_s(values):
    summary = intervals.summarize(values)
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (summary.low, summary.high) == (pytest.approx(low), pytest.approx(high))


def test_of_one_run_there_is_no_spread():
    summary = intervals.summarize([0.99])
    assert (summary.n, summary.mean, summary.min, summary.max) == (1, 0.99, 0.99, 0.99)
    assert all(math.isnan(x) for x in (summary.sd, summary.low, summary.high))


def test_metrics_json_gets_a_spread_only_of_two_runs_or_more():
    assert intervals.to_dict(intervals.summarize([0.5])) == {
        'mean': 0.5,
        'min': 0.5,
        'max': 0.5,
    }
    summary = intervals.summarize([0.25, 0.75])
    assert intervals.to_dict(summary) == {
        'mean': 0.5,
        'min': 0.25,
        'max': 0.75,
        'sd': summary.sd,
        'mean_95_percent_interval': (summary.low, summary.high),
    }


def test_the_interval_holds_the_true_mean_19_times_in_20():
    samples = np.random.default_rng(0).normal(0.99, 0.01, (4000, 5))
    summaries = [intervals.summarize(sample.tolist()) for sample in samples]
    hits = np.mean([summary.low < 0.99 < summary.high for summary in summaries])
    assert hits == pytest.approx(0.95, abs=0.012)


@given(st.data(), st.integers(2, 20))
def test_paired_differences_are_scipy_s(data, n):
    numbers = st.lists(st.floats(0.9, 1.0), min_size=n, max_size=n)
    values, reference = data.draw(numbers), data.draw(numbers)
    if np.std(np.subtract(values, reference)) < 1e-6:
        return
    difference = intervals.paired_difference(values, reference)
    expected = scipy.stats.ttest_rel(values, reference)
    low, high = expected.confidence_interval(0.95)
    assert difference.n == n
    assert difference.p_value == pytest.approx(expected.pvalue)
    assert (difference.low, difference.high) == (pytest.approx(low), pytest.approx(high))


def test_what_pairs_share_drops_out():
    reference = [0.90, 0.95, 0.99, 0.93]
    values = [x + d for x, d in zip(reference, (0.001, 0.0011, 0.0009, 0.001), strict=True)]
    difference = intervals.paired_difference(values, reference)
    assert difference.mean == pytest.approx(0.001)
    assert difference.p_value < 1e-3
    assert scipy.stats.ttest_ind(values, reference).pvalue > 0.9


@pytest.mark.parametrize('shift', [0.0, 0.0001])
def test_pairs_that_all_differ_by_the_same_prove_nothing(shift):
    reference = [0.9, 0.8, 0.7]
    difference = intervals.paired_difference([x + shift for x in reference], reference)
    assert difference.mean == pytest.approx(shift)
    assert math.isnan(difference.p_value)


def test_holm_by_hand():
    # The smallest of four times 4, the next times 3, ...; none below the one before.
    adjusted = intervals.adjust_p_values([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.adjust_p_values([0.6, 0.9]) == [1.0, 1.0]
    assert intervals.adjust_p_values([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni_s(p_values):
    adjusted = intervals.adjust_p_values(p_values)
    for p_value, corrected in zip(p_values, adjusted, strict=True):
        assert p_value <= corrected <= min(1, len(p_values) * p_value) + 1e-12
    order = np.argsort(p_values, kind='stable')
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_wilson_interval_by_hand():
    # Ten of ten: centre (1 + z²/20) / (1 + z²/10), from below only.
    low, high = intervals.wilson_interval(10, 10)
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 10))
    assert high == pytest.approx(1.0)


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_accuracy_and_stays_in_range(counts):
    correct, total = counts
    low, high = intervals.wilson_interval(correct, total)
    assert 0 <= low <= correct / total <= high <= 1
