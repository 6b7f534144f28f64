"""The ablation's configs, what it refuses, and what it finds in a workdir."""

import importlib
import json
import sys
from dataclasses import replace

import pytest
from ml_collections import ConfigDict
from repository import ROOT
from small_configs import sweep_of

from configs import ablation as ablation_config
from mnist_flax.ablation import ablation, report, variants
from mnist_flax.ablation.report import RECIPE, Row
from mnist_flax.checkpointing import earlier_runs
from mnist_flax.common.errors import UserError
from mnist_flax.training import plan


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
        ('recipe.dataset', 3, 'config.recipe.dataset: found 3; allowed: a ConfigDict'),
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


@pytest.mark.slow
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


OWN_LOSS = """
import pathlib

class Teacher:
    def __init__(self, path):
        self.digest = pathlib.Path(path).read_text()

def create(logits, labels, teacher: Teacher):
    return {factor} * logits[:, 0] ** 2
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A config with a loss of a user's own, and what edits that, its file or the data."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / 'teacher.txt'
    teacher = {'constructor': 'own_ablated_loss.Teacher', 'path': str(path)}
    loss = {'constructor': 'own_ablated_loss.create', 'teacher': teacher}

    def edit(factor=1, sha256='a', digest='first'):
        (tmp_path / 'own_ablated_loss.py').write_text(OWN_LOSS.format(factor=factor))
        path.write_text(digest)
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
        ({'digest': 'other'}, 'own.source.loss.teacher'),
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
    numbers = 0.9, 0.05, 0.9, 0.06, 225_034, '', 10.0
    rows = [Row(variant, 0, *numbers) for variant in (RECIPE, 'worse')]
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
