"""The ablation's arithmetic, on runs made up by hand; the command is in test_scripts."""

import io
import json
import math

import numpy as np
import pytest
import scipy.stats
from conftest import ROOT
from ml_collections import ConfigDict
from PIL import Image

from configs import ablation as ablation_config
from mnist_flax.ablation.ablation import ablation, report
from mnist_flax.checkpointing import workdirs
from mnist_flax.reporting import figures
from mnist_flax.ablation.report import RECIPE, Cell
from mnist_flax.common.errors import UserError

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
    found = report.compare(cells, list(ACCURACIES))
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
    verdicts = {name: report.judge(found[name]) for name in found}
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
    assert ('3 (1 diverged)' in report.to_markdown([*found.values()])) == failed


@pytest.mark.parametrize('num_seeds', [1, 2])
def test_with_fewer_than_three_pairs_there_is_no_verdict(num_seeds):
    found = compare([cell for cell in make_cells() if cell.seed < num_seeds])
    for name in ('worse', 'same', 'better'):
        assert found[name].p_value is None
        assert 'no verdict' in report.judge(found[name])
        assert (found[name].difference is None) == (num_seeds == 1)
    table = report.to_markdown([*found.values()])
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
    table = report.to_markdown([*found.values()])
    assert (
        '| worse | – | – | – | fewer than 3 pairs: no verdict | – | 0 (4 diverged)' in table
    )
    # The one that is left is compared as if it were the only one.
    expected = scipy.stats.ttest_rel(ACCURACIES['better'], ACCURACIES[RECIPE]).pvalue
    assert found['better'].p_value == pytest.approx(expected)
    report.plot([*found.values()], 'title')


def test_the_table_is_sorted_by_difference_after_the_recipe():
    table = report.to_markdown([*compare(make_cells()).values()])
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
    figure = report.plot([*compare(make_cells()).values()], 'title')
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
    found = report.from_csv(report.to_csv(cells), 'results.csv')
    assert found[:-1] == cells[:-1]
    assert math.isnan(found[-1].validation_accuracy)


@pytest.mark.parametrize(
    'text',
    ['a,b\n1,2\n', 'variant,seed\nx,1\n', report.to_csv(make_cells())[:-20] + 'x'],
)
def test_a_file_of_something_else_is_refused(text):
    with pytest.raises(UserError, match='results.csv, line .* no run of an ablation'):
        report.from_csv(text, 'results.csv')


def test_every_variant_of_the_config_changes_the_recipe_and_nothing_else():
    config = ablation_config.get_config()
    configs = ablation.make_configs(config)
    assert next(iter(configs)) == RECIPE
    assert len(configs) >= 8
    trees = {name: variant.to_dict() for name, variant in configs.items()}
    for name, changes in config.variants.items():
        differing = workdirs.find_differences(trees[name], trees[RECIPE])
        leaves = [
            f'{field}.{leaf}' if leaf else field
            for field, value in changes.items()
            for leaf in (value if isinstance(value, ConfigDict) else [None])
        ]
        assert sorted(differing) == sorted(leaves)


def changed_config(path, value):
    config = ablation_config.get_config()
    *parents, field = path.split('.')
    tree = config
    for parent in parents:
        tree = tree[parent]
    with tree.ignore_type():
        tree[field] = value
    return config


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('variants', 3, 'config.variants is missing; allowed: a ConfigDict'),
        ('recipe', 3, 'config.recipe is missing; allowed: a ConfigDict'),
        ('recipe.runs', 2, 'config.recipe: found runs, a seed or a sweep; allowed'),
        ('recipe.seed', 1, 'config.recipe: found runs, a seed or a sweep; allowed'),
        ('recipe.sweep.dropout_rate', (0.1,), 'config.recipe: found runs, a seed or'),
        ('recipe.dataset.validation', 'test', "validation: found 'test'; allowed: 'hold"),
        ('variants.recipe', {'ema_decay': 0.5}, "found one called 'recipe'; allowed: any"),
        ('variants.x', {'sed': 1}, "config.variants.x: found {'sed': 1}"),
        ('variants.x', {'ema_decay': 'a'}, 'config.variants.x: found'),
        ('variants.x', 3, 'config.variants.x: found 3; allowed: fields of config.recipe'),
        ('variants.x', {'model': 3}, "config.variants.x: found {'model': 3}"),
        (
            'variants.x',
            {'seed': 1},
            'fields of config.recipe, but for dataset, runs',
        ),
        (
            'variants.x',
            {'runs': 2},
            'fields of config.recipe, but for dataset, runs',
        ),
        (
            'variants.x',
            {'sweep': {'dropout_rate': (0.1,)}},
            'but for dataset, runs',
        ),
        ('variants.x', {'dataset': {'name': 'kmnist'}}, 'but for dataset, runs'),
    ],
)
def test_configs_that_are_no_ablation_are_refused(path, value, message):
    with pytest.raises(UserError) as caught:
        ablation.make_configs(changed_config(path, value))
    assert message in str(caught.value)


def test_a_variant_can_bring_a_model_of_its_own():
    model = {'constructor': 'configs.mlp.MLP', 'width': 7}
    configs = ablation.make_configs(changed_config('variants.mlp', {'model': model}))
    assert configs['mlp'].model.to_dict() == model
    assert configs['mlp'].augment.to_dict() == configs[RECIPE].augment.to_dict()


def test_pairs_that_all_differ_by_the_same_get_no_verdict():
    accuracies = {RECIPE: [0.99, 0.98, 0.97], 'better': [0.9901, 0.9801, 0.9701]}
    found = compare(make_cells({**ACCURACIES, **accuracies, 'same': [], 'worse': []}))
    assert found['better'].p_value is None
    expected = 'all pairs differ by the same: no verdict'
    assert report.judge(found['better']) == expected


def test_a_crash_between_the_files_is_survived_and_damage_is_refused(tmp_path):
    """The configs are written first, so they may name a variant that has no run."""
    trees = {RECIPE: {'seed': 0}, 'worse': {'seed': 0}, 'without a run': {'seed': 1}}
    cells = make_cells({RECIPE: [0.9], 'worse': [0.8]})
    (tmp_path / 'configs.json').write_text(json.dumps(trees))
    (tmp_path / 'results.csv').write_text(report.to_csv(cells))
    found, known = ablation._read(tmp_path)
    assert found == cells
    assert set(known) == {RECIPE, 'worse'}
    ablation._check_same(tmp_path, {**trees, 'without a run': {'seed': 2}}, known)
    for damaged in ('', '{}', '3'):
        (tmp_path / 'configs.json').write_text(damaged)
        with pytest.raises(UserError, match='--workdir: cannot read the earlier runs in'):
            ablation._read(tmp_path)


def test_where_a_run_is_computed_may_change():
    ours = {'num_devices': 1, 'runs_at_once': 2, 'dataset': {'data_dir': 'x'}, 'b': 1}
    theirs = {'num_devices': 2, 'runs_at_once': 4, 'dataset': {'data_dir': ''}, 'b': 1}
    ablation._check_same(ROOT, {'a': ours}, {'a': theirs})
    with pytest.raises(UserError, match='a config that differs in a.b; allowed'):
        ablation._check_same(ROOT, {'a': ours}, {'a': {**theirs, 'b': 2}})
