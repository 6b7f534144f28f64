"""The ablation's configs, and its arithmetic on runs that are made up."""

import importlib
import io
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from ml_collections import ConfigDict
from PIL import Image
from repository import ROOT
from small_configs import sweep_of

from configs import ablation as ablation_config
from mnist_flax.ablation import ablation, report, variants
from mnist_flax.ablation.report import RECIPE, Row
from mnist_flax.checkpointing import earlier_runs
from mnist_flax.common.errors import UserError
from mnist_flax.reporting import figures
from mnist_flax.training import plan

ACCURACIES = {
    RECIPE: [0.990, 0.991, 0.992, 0.993],
    'worse': [0.980, 0.982, 0.981, 0.984],
    'same': [0.991, 0.990, 0.993, 0.992],
    'better': [0.9951, 0.9960, 0.9970, 0.9979],
}


def make_row(variant, seed, accuracy):
    return Row(variant, seed, accuracy, 0.05, accuracy - 0.001, 0.06, 225_034, 10.0 + seed)


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


@pytest.mark.parametrize(
    'text', ['a,b\n1,2\n', 'variant,seed\nx,1\n', report.to_csv(make_rows())[:-20] + 'x']
)
def test_a_file_of_something_else_is_refused(text):
    with pytest.raises(UserError, match='results.csv, line .* not a run of an ablation'):
        report.from_csv(text, 'results.csv')


def test_every_variant_of_the_config_changes_the_recipe_and_nothing_else():
    config = ablation_config.get_config()
    configs = variants.make_configs(config)
    assert next(iter(configs)) == RECIPE
    assert len(configs) >= 8
    trees = {name: variant.to_dict() for name, variant in configs.items()}
    for name, changes in config.variants.items():
        differing = earlier_runs.find_differences(trees[name], trees[RECIPE])
        leaves = [
            f'{field}.{leaf}' if leaf else field
            for field, value in changes.items()
            for leaf in (value if isinstance(value, ConfigDict) else [None])
        ]
        assert {*leaves} <= {*differing}
        # A constructor takes the place of all fields beside it.
        others = {field.partition('.')[0] for field in {*differing} - {*leaves}}
        assert all('constructor' in changes[name] for name in others)


def changed_config(path, value):
    config = ablation_config.get_config()
    *parents, field = path.split('.')
    tree = config
    for parent in parents:
        tree = tree[parent]
    with tree.ignore_type():
        tree[field] = value
    return config


OTHER_FIELDS = 'allowed: fields of config.recipe other than dataset, runs, runs_at_once, '


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('variants', 3, 'config.variants must be a ConfigDict'),
        ('recipe', 3, 'config.recipe must be a ConfigDict'),
        ('recipe.runs', 2, 'config.recipe must have runs = 1, seed = 0 and no sweep'),
        ('recipe.seed', 1, 'config.recipe must have runs = 1'),
        ('recipe.sweep.dropout_rate', (0.1,), 'config.recipe must have runs = 1'),
        ('recipe.dataset.validation', 'test', "validation: found 'test'; allowed: 'hold"),
        ('variants.recipe', {'ema_decay': 0.5}, 'config.variants.recipe: this is the name'),
        ('variants.x', {'sed': 1}, 'config.variants.x.sed: this config has no field'),
        ('variants.x', 3, f'config.variants.x: found 3; {OTHER_FIELDS}'),
        ('variants.x', {'seed': 1}, OTHER_FIELDS),
        ('variants.x', {'sweep': {'dropout_rate': (0.1,)}}, OTHER_FIELDS),
        ('variants.x', {'dataset': {'name': 'kmnist'}}, OTHER_FIELDS),
    ],
)
def test_configs_that_are_not_an_ablation_are_refused(path, value, message):
    with pytest.raises(UserError) as caught:
        variants.make_configs(changed_config(path, value))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ('path', 'value', 'names', 'message'),
    [
        ('variants.x', {'ema_decay': 'a'}, [], "variants.x: config.ema_decay: found 'a'"),
        ('variants.x', {'model': 3}, [], 'variants.x: config.model: found 3; allowed'),
        ('recipe.seed', 0, ['no_such'], "--variants: found 'no_such'; allowed: batch_nor"),
        ('recipe.num_epochs', 0, [], 'config.num_epochs: found 0; allowed: 1 or more'),
        (
            'variants.no_dropout.model.dropout_rate', 2.0, ['no_dropout'],
            'config.variants.no_dropout: config.model.dropout_rate: found 2',
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_is_trained(
    tmp_path, path, value, names, message
):
    config = changed_config(path, value)
    kept = path.removeprefix('variants.').partition('.')[0]
    for name in {*config.variants} - {kept, 'batch_norm'}:  # those before it take time
        del config.variants[name]
    with pytest.raises(UserError, match=message):
        ablation.ablate(config, str(tmp_path), 1, names)
    assert {path.name for path in tmp_path.iterdir()} <= {'.lock'}


def test_a_variant_that_fails_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    """As one whose data or memory are gone, which no check before training can know."""
    first = ablation.Trainer.train

    def train(self):
        if self._plan.recipe.ema_decay == 0.125:
            raise UserError('its memory does not suffice')
        return first(self)

    monkeypatch.setattr(ablation.Trainer, 'train', train)
    config = ablation_config.get_config()
    config.recipe.update({'num_epochs': 1, 'num_devices': 1})
    config.recipe.model.update({'conv': 'xla', 'features': (2,), 'hidden_size': 4})
    config.recipe.dataset.update(
        {'train_split': 'train[:300]', 'holdout_size': 100, 'test_split': 'test[:50]'}
    )
    config.variants = ConfigDict({'a': {'ema_decay': 0.125}, 'b': {'ema_decay': 0.0}})
    with pytest.raises(UserError, match='config.variants: a cannot be trained'):
        ablation.ablate(config, str(tmp_path), 1)
    errors = capsys.readouterr().err
    assert errors == 'warning: a fails: its memory does not suffice\n'
    assert '| b |' in (tmp_path / 'ablation.md').read_text()
    monkeypatch.undo()
    assert '| a |' in ablation.ablate(config, str(tmp_path), 1)
    assert {path.name for path in tmp_path.iterdir()} == {
        '.lock', 'ablation.md', 'ablation.png', 'configs.json', 'results.csv',
    }  # fmt: skip


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A config with a loss of a user's own, and what edits that or the data set."""
    monkeypatch.syspath_prepend(tmp_path)
    loss = {'constructor': 'own_ablated_loss.create'}

    def edit(factor=1, sha256='a'):
        source = f'def create(logits, labels):\n    return {factor} * logits[:, 0] ** 2\n'
        (tmp_path / 'own_ablated_loss.py').write_text(source)
        sys.modules.pop('own_ablated_loss', None)
        importlib.invalidate_caches()
        monkeypatch.setattr(plan, '_load', lambda of: replace(load(of), sha256=sha256))

    load = plan._load
    edit()
    config = ConfigDict(
        {'recipe': sweep_of(num_epochs=1), 'variants': {'own': {'loss': loss}}}
    )
    return config, edit


@pytest.mark.parametrize(
    ('edited', 'field'),
    [
        ({'factor': 20}, r'own.source.own_ablated_loss'),
        ({'sha256': 'b'}, 'recipe.dataset.sha256, own.dataset.sha256'),
    ],
)
def test_seeds_of_an_edited_function_or_other_data_are_not_added(
    own, tmp_path, edited, field
):
    config, edit = own
    ablation.ablate(config, str(tmp_path), 1)
    edit(**edited)
    with pytest.raises(
        UserError, match=rf'holds runs with other settings \({field}\); use'
    ):
        ablation.ablate(config, str(tmp_path), 2)
    # An earlier version did not note them.
    trees = json.loads((tmp_path / 'configs.json').read_text())
    for tree in trees.values():
        del tree['source'], tree['dataset']['sha256']
    (tmp_path / 'configs.json').write_text(json.dumps(trees))
    assert '| own |' in ablation.ablate(config, str(tmp_path), 1)


@pytest.mark.parametrize('name', ['a/b', 'a b', ''])
def test_a_variant_has_a_name_that_a_folder_can_have(name):
    with pytest.raises(UserError, match='allowed: letters, digits, _ and -'):
        variants.make_configs(changed_config(f'variants.{name}', {'seed': 0}))


def test_a_variant_can_bring_a_model_of_its_own():
    model = {'constructor': 'configs.mlp.MLP', 'width': 7}
    configs = variants.make_configs(changed_config('variants.mlp', {'model': model}))
    assert configs['mlp'].model.to_dict() == model
    assert configs['mlp'].augment.to_dict() == configs[RECIPE].augment.to_dict()


def test_a_crash_between_the_files_is_survived_and_damage_is_refused(tmp_path):
    """The configs are written first, so they may name a variant that has no run."""
    trees = {RECIPE: {'seed': 0}, 'worse': {'seed': 0}, 'without a run': {'seed': 1}}
    rows = make_rows({RECIPE: [0.9], 'worse': [0.8]})
    (tmp_path / 'configs.json').write_text(json.dumps(trees))
    (tmp_path / 'results.csv').write_text(report.to_csv(rows))
    found, known = ablation._read(tmp_path)
    assert found == rows
    assert set(known) == {RECIPE, 'worse'}
    ablation._check_same(tmp_path, {**trees, 'without a run': {'seed': 2}}, known)
    for damaged in ('', '{}', '3'):
        (tmp_path / 'configs.json').write_text(damaged)
        with pytest.raises(UserError, match='--workdir: cannot read the earlier runs in'):
            ablation._read(tmp_path)


def test_earlier_runs_may_be_of_other_devices_or_an_earlier_version_but_not_recipe():
    """A field that they do not have had today's default."""
    tree = ablation_config.get_config().recipe.to_dict()
    earlier = {**tree, 'num_devices': 2, 'runs_at_once': 4}
    earlier['dataset'] = {**tree['dataset'], 'data_dir': 'elsewhere'}
    del earlier['log_every_steps'], earlier['dataset']['extra']
    ablation._check_same(ROOT, {'a': tree}, {'a': earlier})
    for other in ({**earlier, 'batch_size': 1}, {**earlier, 'model': {}}):
        with pytest.raises(UserError, match=r'holds runs with other settings \(a\..*\); u'):
            ablation._check_same(ROOT, {'a': tree}, {'a': other})
