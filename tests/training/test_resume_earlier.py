"""Checkpoints of earlier versions are resumed, and those of anything else refused."""

import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from repository import ROOT
from test_resume import assert_close, assert_same, delete, everything, run, steps, tiny

from mnist_flax.checkpointing import checkpoints
from mnist_flax.common import renamed
from mnist_flax.common.errors import UserError

pytestmark = pytest.mark.usefixtures('without_figures')

LEFT_RUN = ROOT / 'tests/left_run'


def test_a_run_of_earlier_versions_is_resumed(tmp_path):
    """Interrupted after 10 steps with Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8.

    If it cannot be resumed any more, nor can users' runs: then say so in the README's
    troubleshooting, and make another one with `tests/leave_a_run.py`.
    """
    shutil.copytree(LEFT_RUN, tmp_path, dirs_exist_ok=True)
    assert steps(tmp_path) == {'10'}
    result = run(tiny(num_devices=1), tmp_path)
    assert_close(result, run(tiny(num_devices=1), tmp_path / 'new'))


def finish_again(config, workdir, change):
    """Trains, and resumes the training from a changed checkpoint of its second epoch."""
    expected = run(config, workdir)
    delete(workdir, 21)
    path = workdir / 'checkpoints/runs_0-0/14'
    arrays, about = change(*checkpoints.read(path)[1:])
    checkpoints.write(path, arrays, about)
    return run(config, workdir), expected


@pytest.mark.slow
def test_names_of_earlier_versions_are_resumed_with_the_same_bits(tmp_path):
    def change(arrays, about):
        for old, new in renamed._ARRAYS.items():
            assert any(name.startswith(new) for name in arrays)
            arrays = {name.replace(new, old): array for name, array in arrays.items()}
        arrays = {name: of for name, of in arrays.items() if 'totals.others' not in name}
        config = about['config']
        config['augment']['constructor'] = 'mnist_flax.augment.create_augment'
        # What came with research: names, places, and metrics while training.
        config['optimizer']['name'] = config['optimizer'].pop('constructor')
        config['optimizer'] |= {'schedule': 'cosine', 'warmup': 0.0}
        config['label_smoothing'] = config['loss']['label_smoothing']
        config['sweep'] = {'learning_rate': [], 'weight_decay': [], 'dropout_rate': []}
        del config['dataset']['extra'], config['loss'], config['schedule']
        del config['metrics'], config['evaluators'], config['writers']
        del config['log_every_steps'], about['columns'], about['logged'], about['runs']
        about['histories'] = [[row[:5] for row in rows] for rows in about['histories']]
        return arrays, about

    config = everything(runs=1, log_every_steps=0)
    config.metrics = ConfigDict()
    result, expected = finish_again(config, tmp_path, change)
    for row in expected.runs[0].rows[:2]:
        del row['train_objective']
    assert_same(result, expected)


def test_a_history_with_other_columns_is_read_by_name(tmp_path, capsys):
    def change(arrays, about):
        del about['logged'], about['runs']  # which earlier versions did not have
        about['columns'] = ['validation_accuracy', 'test_margin', 'train_accuracy', 'epoch']
        (history,) = about['histories']
        about['histories'] = [[[row[4], 0.5, row[2], row[0]] for row in history]]
        return arrays, about

    result, expected = finish_again(tiny(), tmp_path, change)
    assert capsys.readouterr().err.endswith(
        '14 was saved by another version: it has no train_loss, test_loss\n'
    )
    *earlier, last = expected.runs[0].rows
    unknown = {'train_loss': np.nan, 'test_loss': np.nan, 'test_margin': 0.5}
    np.testing.assert_equal(result.runs[0].rows, [*(of | unknown for of in earlier), last])
    np.testing.assert_array_equal(result.runs[0].logits, expected.runs[0].logits)


@pytest.mark.slow
def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path):
    """Of another network, or from an unknown source."""
    expected = run(tiny(), tmp_path)
    delete(tmp_path, 21)
    config = tiny()
    config.checkpoint.allow_changes = True
    config.model.hidden_size = 9
    with pytest.raises(UserError, match='8.* for .*Dense_0.* this config has .*9'):
        run(config, tmp_path)
    path, arrays, about = checkpoints.read(tmp_path / 'checkpoints/runs_0-0/14')
    for damage, message in (
        ({'step': None}, 'not a checkpoint of this program .*step'),
        ({'config': 3}, 'not a checkpoint of this program .*config'),
        ({'histories': [[[1, 2]]]}, 'has histories without the columns epoch, train_loss'),
        ({'histories': [['abcde']]}, 'not a checkpoint of this program .*histories'),
        ({'diverged': []}, 'holds 1 runs, but'),
    ):
        checkpoints.write(path, arrays, about | damage)
        with pytest.raises(UserError, match=message):
            run(tiny(), tmp_path)
    checkpoints.write(path, arrays, about)
    assert_same(run(tiny(), tmp_path), expected)
