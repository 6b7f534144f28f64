"""Runs that are left and gone on with, in one process: the same bits as if they had not."""

import json
import os
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from flax import traverse_util
from ml_collections import ConfigDict

from configs import default
from mnist_flax.checkpointing import checkpoints
from mnist_flax.training import trainer
from mnist_flax.common.errors import UserError, construct_named
from mnist_flax.common.interrupts import Interrupted
from mnist_flax.train import train_and_evaluate


def tiny(**changes):
    config = default.get_config()
    config.update({'num_epochs': 3, 'num_devices': 2, 'batch_size': 100})
    config.dataset.update({'train_split': 'train[:700]', 'test_split': 'test[:200]'})
    config.model.update({'features': (2, 4), 'hidden_size': 8, 'conv': 'xla'})
    config.update(changes)
    return config


def everything(**changes):
    """Three runs in two groups, with everything that a run can keep."""
    config = tiny(runs=3, runs_at_once=2, ema_decay=0.9, label_smoothing=0.1)
    config.model.update({'dropout_rate': 0.2, 'batch_norm': True})
    config.augment.shift = 2.0
    config.optimizer.update({'name': 'adamw', 'weight_decay': 0.1, 'clip_norm': 1.0})
    config.update(changes)
    return config


@pytest.fixture
def leave_after(monkeypatch):
    """Sends Ctrl-C after so many slices of an epoch; it has 7, one a step."""

    def leave(config, workdir, *numbers, saved=True):
        for number in numbers:
            count = iter(range(number - 1, -1, -1))
            with monkeypatch.context() as patch:

                def advance(self, num_steps, totals, count=count):
                    if next(count, None) == 0:
                        os.kill(os.getpid(), signal.SIGINT)

                patch.setattr(trainer.Progress, 'advance', advance)
                message = 'saved in .*; the same command goes on' if saved else 'nothing'
                with pytest.raises(Interrupted, match=message):
                    train_and_evaluate(config, str(workdir))

    return leave


def assert_same(result, expected):
    assert len(result.runs) == len(expected.runs)
    for run, other in zip(result.runs, expected.runs, strict=True):
        assert run.plan == other.plan
        assert run.history == other.history
        np.testing.assert_array_equal(run.logits, other.logits)
        jax.tree.map(np.testing.assert_array_equal, run.variables, other.variables)


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    return train_and_evaluate(everything(), str(tmp_path_factory.mktemp('untouched')))


@pytest.mark.parametrize(
    'moments',
    [
        [1],
        *(pytest.param([step], marks=pytest.mark.slow) for step in (7, 21, 24)),
        [3, 1, 2, 9, 14, 5],
    ],
)
def test_runs_that_were_left_end_with_the_same_bits(
    tmp_path, untouched, leave_after, moments
):
    leave_after(everything(), tmp_path, *moments)
    assert_same(train_and_evaluate(everything(), str(tmp_path)), untouched)


@pytest.mark.slow
def test_what_was_saved_every_other_epoch_goes_on_from_there(tmp_path, monkeypatch):
    config = tiny(num_epochs=5)
    config.checkpoint.every = 2
    expected = train_and_evaluate(config, str(tmp_path / 'untouched'))
    steps = {path.name for path in (tmp_path / 'untouched/checkpoints/runs_0-0').iterdir()}
    assert steps == {'14', '28', '35'}

    class Killed(BaseException):
        pass

    def report(self, epoch, *rest):
        if epoch == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Progress, 'report', report)
        with pytest.raises(Killed):
            train_and_evaluate(config, str(tmp_path / 'left'))
    steps = {path.name for path in (tmp_path / 'left/checkpoints/runs_0-0').iterdir()}
    assert steps == {'14'}
    assert_same(train_and_evaluate(config, str(tmp_path / 'left')), expected)


def assert_close(result, expected):
    for run, other in zip(result.runs, expected.runs, strict=True):
        assert run.plan == other.plan
        np.testing.assert_allclose(run.logits, other.logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    'elsewhere',
    [
        pytest.param({'num_devices': 1}, marks=pytest.mark.slow),
        {'num_devices': 4},
        pytest.param({'runs_at_once': 1}, marks=pytest.mark.slow),
        pytest.param({'runs_at_once': 3}, marks=pytest.mark.slow),
    ],
)
def test_other_devices_go_on_with_what_was_saved(
    tmp_path, untouched, leave_after, elsewhere
):
    """The same up to rounding, on fewer or more devices, or with other runs at once."""
    leave_after(everything(), tmp_path, 16)
    result = train_and_evaluate(everything(**elsewhere), str(tmp_path))
    assert_close(result, untouched)
    # What had begun together stays together.
    groups = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
    assert groups == {'runs_0-1', 'runs_2-2'}


@pytest.mark.slow
def test_more_epochs_give_what_a_longer_run_would_have(tmp_path):
    config = tiny()
    config.optimizer.schedule = 'constant'
    train_and_evaluate(config, str(tmp_path / 'extended'))
    config.num_epochs = 5
    extended = train_and_evaluate(config, str(tmp_path / 'extended'))
    assert_same(extended, train_and_evaluate(config, str(tmp_path / 'longer')))
    config.num_epochs = 4
    with pytest.raises(UserError, match='num_epochs: found 4, which are 28 steps, where'):
        train_and_evaluate(config, str(tmp_path / 'extended'))


@pytest.mark.slow
def test_in_a_population_the_sick_run_stays_marked_and_the_others_go_on(
    tmp_path, leave_after
):
    config = tiny(runs_at_once=2)
    config.optimizer.name = 'sgd'
    config.sweep.learning_rate = (0.1, 1e30)
    expected = train_and_evaluate(config, str(tmp_path / 'untouched'))
    leave_after(config, tmp_path / 'left', 9, 2)
    result = train_and_evaluate(config, str(tmp_path / 'left'))
    well, sick = result.runs
    assert well.diverged is None
    assert (sick.diverged.epoch, sick.diverged.step) == (1, 2)
    assert sick.diverged == expected.runs[1].diverged
    assert well.history == expected.runs[0].history
    np.testing.assert_array_equal(well.logits, expected.runs[0].logits)


@pytest.mark.slow
def test_a_run_that_diverges_keeps_the_last_good_checkpoint_to_go_on_from(tmp_path):
    config = tiny()
    train_and_evaluate(config, str(tmp_path))
    for step in ('14', '21'):
        shutil.rmtree(tmp_path / 'checkpoints/runs_0-0' / step)
    config.checkpoint.allow_changes = True
    config.optimizer.learning_rate = 1e30
    with pytest.raises(UserError) as error:
        train_and_evaluate(config, str(tmp_path))
    message = str(error.value)
    assert 'training diverged in epoch 2 at step 9, where the learning rate was' in message
    good = tmp_path / 'checkpoints/runs_0-0/7'
    assert message.endswith(f'the last good checkpoint is {good}')
    assert [path.name for path in good.parent.iterdir()] == ['7']
    # Nor does the refused attempt stand in the way of others.
    config.optimizer.learning_rate = 5e-4
    result = train_and_evaluate(config, str(tmp_path))
    changes = ['optimizer.learning_rate from 0.001 to 0.0005 after step 7']
    assert result.metrics['changed_settings'] == changes
    assert len(result.runs[0].history) == 3
    config.optimizer.learning_rate = 3e-4
    with pytest.raises(UserError, match='allow_changes: found other .* has all its steps'):
        train_and_evaluate(config, str(tmp_path))


@pytest.mark.slow
def test_runs_that_all_diverged_leave_no_checkpoint_and_no_gap(tmp_path, leave_after):
    config = tiny(runs_at_once=1)
    config.sweep.learning_rate = (1e30, 1e-3)
    expected = train_and_evaluate(config, str(tmp_path / 'untouched'))
    assert [run.diverged is None for run in expected.runs] == [False, True]
    leave_after(config, tmp_path / 'left', 10)  # the 3rd step of the second run
    assert [path.name for path in (tmp_path / 'left/checkpoints').iterdir()] == ['runs_1-1']
    result = train_and_evaluate(config, str(tmp_path / 'left'))
    assert [run.plan for run in result.runs] == [run.plan for run in expected.runs]
    assert result.runs[0].diverged == expected.runs[0].diverged
    np.testing.assert_array_equal(result.runs[1].logits, expected.runs[1].logits)


def test_all_changes_on_the_way_are_reported(tmp_path, leave_after):
    config = tiny()
    leave_after(config, tmp_path, 7)
    config.checkpoint.allow_changes = True
    config.optimizer.learning_rate = 5e-4
    leave_after(config, tmp_path, 3)
    config.label_smoothing = 0.1
    assert train_and_evaluate(config, str(tmp_path)).metrics['changed_settings'] == [
        'optimizer.learning_rate from 0.001 to 0.0005 after step 7',
        'label_smoothing from 0.0 to 0.1 after step 10',
    ]


@pytest.mark.parametrize('number', [2, 4])
def test_what_has_diverged_is_not_saved_in_the_middle_of_an_epoch(
    tmp_path, leave_after, number
):
    """The first step takes it too far; the second one's loss says so."""
    config = tiny()
    config.optimizer.update({'name': 'sgd', 'learning_rate': 1e38})
    leave_after(config, tmp_path, number, saved=False)
    assert not (tmp_path / 'checkpoints').exists()


@pytest.mark.slow
def test_another_network_is_no_continuation(tmp_path):
    expected = train_and_evaluate(tiny(), str(tmp_path))
    shutil.rmtree(tmp_path / 'checkpoints/runs_0-0/21')
    config = tiny()
    config.checkpoint.allow_changes = True
    config.model.hidden_size = 9
    with pytest.raises(UserError, match='has as .*Dense_0.* shape .*8.*; allowed: .*9'):
        train_and_evaluate(config, str(tmp_path))
    assert_same(train_and_evaluate(tiny(), str(tmp_path)), expected)


@pytest.mark.parametrize('damage', [{'step': None}, {'histories': [[[1]]]}, {'config': 3}])
def test_a_stranger_s_checkpoint_is_one_line(tmp_path, damage):
    train_and_evaluate(tiny(), str(tmp_path))
    path = tmp_path / 'checkpoints/runs_0-0/21'
    found = checkpoints.read(path)
    checkpoints.write(path, found.arrays, found.about | damage)
    with pytest.raises(UserError, match='is no checkpoint of|found in .* other settings'):
        train_and_evaluate(tiny(), str(tmp_path))


def test_what_is_saved_does_not_change_while_it_is_written(tmp_path, monkeypatch):
    """The next epoch may end before; its numbers are not of this checkpoint."""
    write = checkpoints.write

    def write_late(path, arrays, about):
        if path.name == '7':
            time.sleep(1)
        write(path, arrays, about)

    monkeypatch.setattr(checkpoints, 'write', write_late)
    train_and_evaluate(tiny(), str(tmp_path))
    for number, step in enumerate((7, 14, 21), 1):
        found = checkpoints.read(tmp_path / f'checkpoints/runs_0-0/{step}')
        assert len(found.about['histories'][0]) == number
        assert found.arrays['state.step'] == step


LEFT_RUN = ROOT / 'tests/left_run'


def test_a_run_that_earlier_versions_left_goes_on(tmp_path):
    """Left after 10 steps with Python 3.11, jax 0.10.2, flax 0.12.8 and optax 0.2.8.

    If it cannot be gone on with any more, users' runs cannot either: then say so in the
    README's troubleshooting, and leave another one with `tests/leave_a_run.py`.
    """
    shutil.copytree(LEFT_RUN, tmp_path, dirs_exist_ok=True)
    assert (tmp_path / 'checkpoints/runs_0-0/10').is_dir()
    result = train_and_evaluate(tiny(num_devices=1), str(tmp_path))
    assert_close(result, train_and_evaluate(tiny(num_devices=1), str(tmp_path / 'anew')))


def test_the_final_networks_are_all_that_is_needed_to_use_them(tmp_path):
    result = train_and_evaluate(everything(), str(tmp_path))
    found = checkpoints.read(tmp_path / 'model')
    assert [run['seed'] for run in found.about['runs']] == [0, 1, 2]
    assert found.about['class_names'] == [str(i) for i in range(10)]
    config = found.about['config']
    assert config == json.loads((tmp_path / 'config.json').read_text())
    config['model']['features'] = tuple(config['model']['features'])  # JSON has lists only
    model = construct_named(ConfigDict(config['model']), 'config.model')
    variables = traverse_util.unflatten_dict(found.arrays, sep='.')
    images = jnp.linspace(0, 1, 28 * 28).reshape(1, 28, 28, 1)
    for i, run in enumerate(result.runs):
        mine = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), variables)
        expected = jax.tree.map(jnp.asarray, run.variables)
        np.testing.assert_array_equal(
            model.apply(mine, images), model.apply(expected, images)
        )
