import csv
import re

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from repository import ROOT

from configs import accurate, default, fashion_mnist, fast
from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import devices, population


def short_config(**dataset):
    config = default.get_config()
    config.num_epochs = 1
    config.dataset.update(train_split='train[:700]', test_split='test[:200]', **dataset)
    return config


def tiny_config(**changes):
    config = short_config()
    config.model.update({'features': (2, 4), 'hidden_size': 8, 'conv': 'xla'})
    config.update(changes)
    return config


@pytest.mark.parametrize(
    'make_config', [tiny_config, pytest.param(short_config, marks=pytest.mark.slow)]
)
def test_the_same_config_gives_the_same_bits(tmp_path, make_config):
    results = [
        train_and_evaluate(make_config(), str(tmp_path / name)) for name in ('a', 'b')
    ]
    (first,), (second,) = (result.runs for result in results)
    jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)
    assert first.rows == second.rows
    names = 'history.csv', 'config.json', 'accuracy_plot.png', 'sample_predictions.png'
    for name in names:
        contents = [(tmp_path / workdir / name).read_bytes() for workdir in ('a', 'b')]
        assert contents[0] == contents[1]


RECIPE = {'num_epochs', 'batch_size', 'ema_decay', 'optimizer', 'schedule', 'augment'}


@pytest.mark.parametrize(
    ('config', 'allowed'),
    [
        (fashion_mnist, {'name'}),
        (fast, {*RECIPE, 'loss', 'features', 'batch_norm'}),
        (accurate, {*RECIPE, 'dropout_rate'}),  # the network is the default
    ],
)
def test_what_a_config_changes_in_the_default(config, allowed):
    changed, usual = config.get_config(), default.get_config()
    assert changed.to_dict() != usual.to_dict()
    for part in (changed, changed.model, changed.dataset):
        source = next(of for of in (usual, usual.model, usual.dataset) if {*of} == {*part})
        for name in allowed & {*part}:
            part[name] = source[name]
    assert changed.to_dict() == usual.to_dict()


@pytest.mark.parametrize('name', [path.stem for path in ROOT.glob('configs/*.py')])
def test_every_field_is_explained_on_its_line(name):
    """In the default config, in the one that adds it, or in one that it builds on."""
    explained = set(default.get_config().to_dict()) | {
        field
        for part in default.get_config().values()
        if isinstance(part, ConfigDict)
        for field in part
    }
    assert len(explained) >= 30
    text = (ROOT / f'configs/{name}.py').read_text()
    for base in re.findall(
        r'\w+', ' '.join(re.findall('^from configs import (.*)', text, re.M))
    ):
        of_base = (ROOT / f'configs/{base}.py').read_text()
        explained |= {*re.findall(r'^ +config[\w.]*\.(\w+) = .*  # ', of_base, re.M)}
    for line in text.splitlines():
        if found := re.match(r' +config[\w.]*\.(\w+) = (?!ConfigDict\(\)$)(?!{)', line):
            own = '  # ' in line and '#' not in line.split('  # ')[0]
            if name == 'default' or found[1] not in explained | {'constructor'}:
                assert own or found[1] in ('recipe', 'number'), line


@pytest.mark.slow
def test_one_epoch_reaches_97_5_per_cent(tmp_path):
    config = default.get_config()
    config.num_epochs = 1
    numbers = train_and_evaluate(config, str(tmp_path)).metrics
    assert numbers['test_accuracy'] >= 0.975


@pytest.mark.slow
def test_more_runs_than_memory_holds_are_trained_in_groups(tmp_path, monkeypatch, capsys):
    """Which does not change them; here 5 runs, the last group filled up to its size."""
    config = tiny_config(runs=5, num_devices=1, seed=2)
    # As on a GPU, where all are tried first.
    monkeypatch.setattr(population, 'num_at_once', lambda mesh, num, wanted: wanted or num)
    needed = []
    compile_programs = population.compile_programs

    def record(programs):
        found = compile_programs(programs)
        needed.append(max(map(population.count_bytes, found)))
        return found

    monkeypatch.setattr(population, 'compile_programs', record)
    together = train_and_evaluate(config, str(tmp_path)).runs
    (of_all,) = needed
    monkeypatch.setattr(devices, 'memory_per_device', lambda mesh: float(of_all - 1))
    in_groups = train_and_evaluate(config, str(tmp_path / 'in groups')).runs
    assert len(needed) == 3
    assert needed[2] < of_all
    assert 'runs 4 to 5 of 5: seeds 5, 6' in capsys.readouterr().out
    for run, expected in zip(in_groups, together, strict=True):
        assert run.plan == expected.plan
        np.testing.assert_allclose(run.logits, expected.logits, rtol=1e-3, atol=1e-4)
    config.runs_at_once = 5
    with pytest.raises(UserError, match='config.runs_at_once: 5 runs need'):
        train_and_evaluate(config, str(tmp_path / 'at once'))


@pytest.mark.slow
def test_a_run_that_diverges_is_marked_and_left_out(tmp_path):
    config = tiny_config(runs=2, num_devices=1)
    config.dataset.update(validation='holdout', holdout_size=100)
    config.optimizer.constructor = 'sgd'
    config.sweep.optimizer = ConfigDict({'learning_rate': (0.1, 1e30)})
    result = train_and_evaluate(config, str(tmp_path))
    epochs = [run.diverged and run.diverged.epoch for run in result.runs]
    assert epochs == [None, None, 1, 1]
    # Five steps an epoch; with such a rate the second one's loss is not finite.
    assert [run.diverged[:2] for run in result.runs[2:]] == [(1, 2), (1, 2)]
    for run in result.runs[2:]:
        assert 0.9e30 < run.diverged.learning_rate < 1e30  # of the cosine's second step
    finite, diverged = result.metrics['points']
    assert (finite['num_diverged'], diverged['num_diverged']) == (0, 2)
    assert finite['held_out_accuracy']['mean'] > 0.05
    assert diverged['held_out_accuracy'] is None
    assert result.metrics['chosen']['values'] == {'optimizer.learning_rate': 0.1}
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['test_accuracy'] == '' for row in rows] == [False, False, True, True]
    assert [row['diverged_in_epoch'] for row in rows] == ['', '', '1', '1']
    table = (tmp_path / 'runs.md').read_text()
    assert '| 1e+30 | – | – | diverged | 0 (2 diverged) |' in table


@pytest.mark.slow
def test_the_fast_config_reaches_99_per_cent(tmp_path):
    """Three of the ten seeds of the README: 99.11 ± 0.09 %."""
    config = fast.get_config()
    config.runs = 3
    numbers = train_and_evaluate(config, str(tmp_path)).metrics
    assert numbers['test_accuracy']['mean'] >= 0.99, numbers['test_accuracy']
