"""An ablation's arithmetic, table and figure, of runs that are made up."""

import io
import math

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from mnist_flax.ablation import report
from mnist_flax.ablation.report import RECIPE, Row
from mnist_flax.common.errors import UserError
from mnist_flax.reporting import figures

ACCURACIES = {
    RECIPE: [0.990, 0.991, 0.992, 0.993],
    'worse': [0.980, 0.982, 0.981, 0.984],
    'same': [0.991, 0.990, 0.993, 0.992],
    'better': [0.9951, 0.9960, 0.9970, 0.9979],
}


def make_row(variant, seed, accuracy):
    numbers = accuracy, 0.05, accuracy - 0.001, 0.06, 225_034
    return Row(variant, seed, *numbers, 'cpu, 2 cores; jax 0.10.', 10.0 + seed)


def make_rows(accuracies=ACCURACIES):
    return [
        make_row(variant, seed, accuracy)
        for variant, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def compare(rows):
    found = report.compare(rows, list(ACCURACIES))
    return {comparison.variant: comparison for comparison in found}


def paired_test(name, seeds=range(4)):
    return scipy.stats.ttest_rel(
        [ACCURACIES[name][i] for i in seeds], [ACCURACIES[RECIPE][i] for i in seeds]
    )


def test_differences_and_p_values_are_scipy_s_paired_test_with_holm_s_correction():
    rows = make_rows()
    found = compare(rows)
    assert compare(rows[::-1]) == found  # paired by seed, whatever their order
    expected = {name: paired_test(name) for name in ('worse', 'same', 'better')}
    for name, of in expected.items():
        difference = found[name].difference
        assert difference.p_value == pytest.approx(of.pvalue)
        interval = (difference.low, difference.high)
        assert interval == pytest.approx(of.confidence_interval(0.95))
    ordered = sorted(expected, key=lambda name: expected[name].pvalue)
    for factor, name in zip((3, 2), ordered, strict=False):
        assert found[name].p_value == pytest.approx(factor * expected[name].pvalue)
    assert {name: report.judge(found[name]) for name in found} == {
        RECIPE: '',
        'worse': 'worse',
        'same': 'no difference shown',
        'better': 'better',
    }


@pytest.mark.parametrize('lost', [('worse', 1), (RECIPE, 1)])
@pytest.mark.parametrize('diverged', [False, True])
def test_a_missing_or_diverged_run_makes_no_pair(lost, diverged):
    rows = [row for row in make_rows() if (row.variant, row.seed) != lost]
    if diverged:
        rows.append(make_row(*lost, math.nan))
    found = compare(rows)
    assert found['worse'].difference.n == 3
    expected = paired_test('worse', [0, 2, 3]).pvalue
    assert found['worse'].difference.p_value == pytest.approx(expected)
    assert found[lost[0]].num_diverged == diverged
    assert found[lost[0]].validation.n == 3
    assert ('3 (1 diverged)' in report.to_markdown([*found.values()])) == diverged


@pytest.mark.parametrize('num_seeds', [1, 2])
def test_with_fewer_than_three_pairs_there_is_no_verdict(num_seeds):
    found = compare([row for row in make_rows() if row.seed < num_seeds])
    for name in ('worse', 'same', 'better'):
        assert found[name].p_value is None
        assert 'no verdict' in report.judge(found[name])
        assert (found[name].difference is None) == (num_seeds == 1)
    table = report.to_markdown([*found.values()])
    assert table.count('| fewer than 3 pairs: no verdict |') == 3


def test_pairs_that_all_differ_by_the_same_get_no_verdict():
    accuracies = {RECIPE: [0.99, 0.98, 0.97], 'better': [0.9901, 0.9801, 0.9701]}
    found = compare(make_rows(accuracies))
    assert found['better'].p_value is None
    assert report.judge(found['better']) == 'all pairs differ by the same: no verdict'


def test_variants_without_any_finite_run_are_shown_as_such():
    accuracies = {**ACCURACIES, 'same': [], 'worse': [math.nan] * 4}
    found = compare(make_rows(accuracies))
    assert found['same'].validation is None
    table = report.to_markdown([*found.values()])
    expected = '| worse | – | – | – | fewer than 3 pairs: no verdict | – | 0 (4 diverged)'
    assert expected in table
    # The one that is left is compared as if it were the only one.
    assert found['better'].p_value == pytest.approx(paired_test('better').pvalue)
    report.plot([*found.values()], 'title')


def test_table_and_figure_are_sorted_by_difference_after_the_recipe():
    comparisons = [*compare(make_rows()).values()]
    table = report.to_markdown(comparisons)
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()]
    assert [row[0] for row in rows[2:]] == [RECIPE, 'worse', 'same', 'better']
    assert rows[0][1:6:4] == ['held-out accuracy, %', 'test accuracy, %']
    assert rows[2] == [
        RECIPE, '99.15 ± 0.13', '–', '–', '–', '99.05 ± 0.13', '4', '225,034', '12',
    ]  # fmt: skip
    assert rows[4][1:3] == ['99.15 ± 0.13', '+0.00 (-0.18 to +0.18)']
    figure = report.plot(comparisons, 'title')
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ['worse', 'same', 'better']
    assert axes.get_xlabel().startswith('held-out accuracy')
    with Image.open(io.BytesIO(figures.to_png(figure))) as image:
        assert len(np.unique(np.asarray(image.convert('L')))) > 20


def test_results_survive_their_file():
    rows = [*make_rows(), make_row('same', 9, math.nan)]
    found = report.from_csv(report.to_csv(rows), 'results.csv')
    assert found[:-1] == rows[:-1]
    assert math.isnan(found[-1].validation_accuracy)


def test_a_table_says_where_its_runs_were_trained():
    rows = make_rows()
    assert report.list_environments(rows) == 'cpu, 2 cores; jax 0.10.'
    rows[3:] = [row._replace(environment='H200; jax 0.11.') for row in rows[3:]]
    text = '3 runs: cpu, 2 cores; jax 0.10. 13 runs: H200; jax 0.11.'
    assert report.list_environments(rows) == text
    # An earlier version had no such column.
    lines = [of.split(',') for of in report.to_csv(make_rows()[:2]).splitlines()]
    place = lines[0].index('environment')
    old = '\n'.join(','.join(of[:place] + of[-1:]) for of in lines)
    (first, _) = report.from_csv(old, 'results.csv')
    assert first == make_rows()[0]._replace(environment='')


@pytest.mark.parametrize(
    'text', ['a,b\n1,2\n', 'variant,seed\nx,1\n', report.to_csv(make_rows())[:-20] + 'x']
)
def test_a_file_of_something_else_is_refused(text):
    with pytest.raises(UserError, match='results.csv, line .* not a run of an ablation'):
        report.from_csv(text, 'results.csv')
