"""The ablation's arithmetic, on runs made up by hand; the command is in test_scripts."""

import io
import math

import numpy as np
import pytest
import scipy.stats
from ml_collections import ConfigDict
from PIL import Image

from configs import ablation as ablation_config
from mnist_flax import ablation, ablation_report, figures
from mnist_flax.ablation_report import RECIPE, Cell
from mnist_flax.checks import UserError

ACCURACIES = {
    RECIPE: [0.990, 0.991, 0.992, 0.993],
    'worse': [0.980, 0.982, 0.981, 0.984],
    'same': [0.991, 0.990, 0.993, 0.992],
    'better': [0.9951, 0.9960, 0.9970, 0.9979],
}


def make_cell(variant, seed, accuracy):
    return Cell(variant, seed, accuracy, 0.05, accuracy - 0.001, 0.06, 225_034, 10.0 + seed)


def make_cells(accuracies=ACCURACIES):
    return [
        make_cell(variant, seed, accuracy)
        for variant, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def compare(cells):
    found = ablation_report.compare(cells, list(ACCURACIES))
    return {comparison.variant: comparison for comparison in found}


def test_differences_and_p_values_are_scipy_s_paired_test_with_holm_s_correction():
    found = compare(make_cells())
    p_values = {}
    for name in ('worse', 'same', 'better'):
        expected = scipy.stats.ttest_rel(ACCURACIES[name], ACCURACIES[RECIPE])
        difference = found[name].difference
        assert difference.p_value == pytest.approx(expected.pvalue)
        low, high = expected.confidence_interval(0.95)
        assert (difference.low, difference.high) == (
            pytest.approx(low),
            pytest.approx(high),
        )
        p_values[name] = expected.pvalue
    ordered = sorted(p_values, key=p_values.get)
    assert found[ordered[0]].p_value == pytest.approx(3 * p_values[ordered[0]])
    assert found[ordered[1]].p_value == pytest.approx(2 * p_values[ordered[1]])
    verdicts = {name: ablation_report.judge(found[name]) for name in found}
    assert verdicts == {
        RECIPE: '',
        'worse': 'worse',
        'same': 'no difference shown',
        'better': 'better',
    }


def test_runs_are_paired_by_seed_whatever_their_order():
    cells = make_cells()
    assert compare(cells[::-1]) == compare(cells)


@pytest.mark.parametrize('lost', [('worse', 1), (RECIPE, 1)])
@pytest.mark.parametrize('failed', [False, True])
def test_a_missing_or_failed_run_makes_no_pair(lost, failed):
    cells = [cell for cell in make_cells() if (cell.variant, cell.seed) != lost]
    if failed:
        cells.append(make_cell(*lost, math.nan))
    found = compare(cells)
    kept = [0, 2, 3]
    expected = scipy.stats.ttest_rel(
        [ACCURACIES['worse'][i] for i in kept], [ACCURACIES[RECIPE][i] for i in kept]
    )
    assert found['worse'].difference.n == 3
    assert found['worse'].difference.p_value == pytest.approx(expected.pvalue)
    assert found[lost[0]].num_failed == failed
    assert found[lost[0]].validation.n == 3
    assert ('3 (1 diverged)' in ablation_report.to_markdown([*found.values()])) == failed


@pytest.mark.parametrize('num_seeds', [1, 2])
def test_with_fewer_than_three_pairs_there_is_no_verdict(num_seeds):
    found = compare([cell for cell in make_cells() if cell.seed < num_seeds])
    for name in ('worse', 'same', 'better'):
        assert found[name].p_value is None
        assert 'no verdict' in ablation_report.judge(found[name])
        assert (found[name].difference is None) == (num_seeds == 1)
    table = ablation_report.to_markdown([*found.values()])
    assert 'worse |' in table  # the variant is there
    assert '| worse | ' not in table.split('| worse | ', 1)[1]  # and is not judged


def test_variants_without_any_good_run_are_shown_as_such():
    cells = [cell for cell in make_cells() if cell.variant != 'same']
    cells = [
        c if c.variant != 'worse' else make_cell('worse', c.seed, math.nan) for c in cells
    ]
    found = compare(cells)
    assert found['same'].validation is None
    assert found['worse'].num_failed == 4
    table = ablation_report.to_markdown([*found.values()])
    assert (
        '| worse | – | – | – | fewer than 3 pairs: no verdict | – | 0 (4 diverged)' in table
    )
    # The one that is left is compared as if it were the only one.
    expected = scipy.stats.ttest_rel(ACCURACIES['better'], ACCURACIES[RECIPE]).pvalue
    assert found['better'].p_value == pytest.approx(expected)
    ablation_report.plot([*found.values()], 'title')


def test_the_table_is_sorted_by_difference_after_the_recipe():
    table = ablation_report.to_markdown([*compare(make_cells()).values()])
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()]
    assert [row[0] for row in rows] == [
        'variant',
        '---',
        RECIPE,
        'worse',
        'same',
        'better',
    ]
    assert rows[2] == [
        RECIPE, '99.15 ± 0.13', '–', '–', '–', '99.05 ± 0.13', '4', '225,034', '12',
    ]  # fmt: skip
    assert rows[4][1:3] == ['99.15 ± 0.13', '+0.00 (-0.18 to +0.18)']


def test_the_figure_shows_every_variant_that_has_pairs():
    figure = ablation_report.plot([*compare(make_cells()).values()], 'title')
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        'worse',
        'same',
        'better',
    ]
    with Image.open(io.BytesIO(figures.to_png(figure))) as image:
        assert len(np.unique(np.asarray(image.convert('L')))) > 20


def test_results_survive_their_file():
    cells = [*make_cells(), make_cell('same', 9, math.nan)]
    found = ablation_report.from_csv(ablation_report.to_csv(cells), 'results.csv')
    assert found[:-1] == cells[:-1]
    assert math.isnan(found[-1].validation_accuracy)


@pytest.mark.parametrize(
    'text',
    ['a,b\n1,2\n', 'variant,seed\nx,1\n', ablation_report.to_csv(make_cells())[:-20] + 'x'],
)
def test_a_file_of_something_else_is_refused(text):
    with pytest.raises(UserError, match='results.csv, line .* no run of an ablation'):
        ablation_report.from_csv(text, 'results.csv')


def test_every_variant_of_the_config_changes_the_recipe_and_nothing_else():
    config = ablation_config.get_config()
    configs = ablation.make_configs(config)
    assert next(iter(configs)) == RECIPE
    assert len(configs) >= 8
    trees = {name: variant.to_dict() for name, variant in configs.items()}
    for name, changes in config.variants.items():
        differing = ablation._find_differences(trees[name], trees[RECIPE])
        leaves = [
            f'{field}.{leaf}' if leaf else field
            for field, value in changes.items()
            for leaf in (value if isinstance(value, ConfigDict) else [None])
        ]
        assert sorted(differing) == sorted(leaves)


@pytest.mark.parametrize(
    ('change', 'names', 'message'),
    [
        ({}, ['nothing'], "--variants: found 'nothing'; allowed: batch_norm, "),
        ({'variants': {'x': {'sed': 1}}}, [], "config.variants.x: found {'sed': 1}"),
        ({'variants': {'x': {'seed': 'a'}}}, [], 'config.variants.x: found'),
        ({'variants': 3}, [], 'config.variants is missing; allowed: a ConfigDict'),
        ({'recipe': 3}, [], 'config.recipe is missing; allowed: a ConfigDict'),
        ({'recipe': {'runs': 2}}, [], 'config.recipe: found runs or a sweep; allowed'),
    ],
)
def test_configs_that_are_no_ablation_are_refused(change, names, message):
    config = ablation_config.get_config()
    for name, value in change.items():
        with config.unlocked(), config.ignore_type():
            if name == 'recipe' and isinstance(value, dict):
                config.recipe.update(value)
            else:
                config[name] = ConfigDict(value) if isinstance(value, dict) else value
    with pytest.raises(UserError) as caught:
        ablation.make_configs(config, names)
    assert str(caught.value).startswith(message)
