"""Runs that are interrupted and resumed in one process end with the same bits."""

import os
import shutil
import signal
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError
from mnist_flax.common.interrupts import Interrupted
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import trainer
from mnist_flax.training.plan import explain_fixed_length, make_plan

pytestmark = pytest.mark.usefixtures('without_figures')


def tiny(**changes):
    config = default.get_config()
    config.update({'num_epochs': 3, 'num_devices': 2, 'batch_size': 100})
    config.dataset.update({'train_split': 'train[:700]', 'test_split': 'test[:200]'})
    config.model.update({'features': (2, 4), 'hidden_size': 8, 'conv': 'xla'})
    config.update(changes)
    return config


def everything(**changes):
    """Three runs in two groups, with everything that a run can keep."""
    config = tiny(runs=3, runs_at_once=2, ema_decay=0.9)
    config.model.update({'dropout_rate': 0.2, 'batch_norm': True})
    config.augment.shift = 2.0
    config.loss.label_smoothing = 0.1
    config.optimizer.update({'constructor': 'adamw', 'weight_decay': 0.1, 'clip_norm': 1.0})
    config.metrics.norm = ConfigDict({'constructor': 'gradient_norm'})
    config.log_every_steps = 2
    config.update(changes)
    return config


def run(config, workdir):
    return train_and_evaluate(config, str(workdir))


@pytest.fixture
def interrupt(monkeypatch):
    """Sends Ctrl-C after so many slices of an epoch; it has 7, one a step."""

    def interrupt(config, workdir, *numbers, saved=True):
        for number in numbers:
            count = iter(range(number - 1, -1, -1))
            with monkeypatch.context() as patch:

                def advance(self, num_steps, totals, count=count):
                    if next(count, None) == 0:
                        os.kill(os.getpid(), signal.SIGINT)

                patch.setattr(trainer.Progress, 'advance', advance)
                message = 'saved in .*; the same command' if saved else 'nothing'
                with pytest.raises(Interrupted, match=message):
                    run(config, workdir)

    return interrupt


def steps(workdir):
    return {path.name for path in (workdir / 'checkpoints/runs_0-0').iterdir()}


def delete(workdir, *steps):
    for step in steps:
        shutil.rmtree(workdir / 'checkpoints/runs_0-0' / str(step))


def assert_same(result, expected):
    assert len(result.runs) == len(expected.runs)
    for run, other in zip(result.runs, expected.runs, strict=True):
        assert run.plan == other.plan
        np.testing.assert_equal(run.rows, other.rows)  # nan equals nan
        assert run.diverged == other.diverged
        np.testing.assert_array_equal(run.logits, other.logits)
        jax.tree.map(np.testing.assert_array_equal, run.variables, other.variables)


def assert_close(result, expected):
    for run, other in zip(result.runs, expected.runs, strict=True):
        assert run.plan == other.plan
        np.testing.assert_allclose(run.logits, other.logits, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    return run(everything(), tmp_path_factory.mktemp('untouched'))


@pytest.mark.parametrize(
    'moments',
    [
        [3, 9],
        *(
            pytest.param(moments, marks=pytest.mark.slow)
            for moments in ([1], [7], [21], [24], [3, 1, 2, 9, 14, 5])
        ),
    ],
)
def test_interrupted_runs_end_with_the_same_bits(tmp_path, untouched, interrupt, moments):
    interrupt(everything(), tmp_path, *moments)
    assert_same(run(everything(), tmp_path), untouched)


@pytest.mark.slow
def test_runs_can_be_saved_every_other_epoch(tmp_path):
    config = tiny(num_epochs=5)
    config.checkpoint.every = 2
    expected = run(config, tmp_path)
    assert steps(tmp_path) == {'14', '28', '35'}
    delete(tmp_path, 28, 35)
    assert_same(run(config, tmp_path), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    'elsewhere',
    [{'num_devices': 1}, {'num_devices': 4}, {'runs_at_once': 1}, {'runs_at_once': 3}],
)
def test_runs_are_resumed_on_other_devices(tmp_path, untouched, interrupt, elsewhere):
    """The same up to rounding, on fewer or more devices, or with other runs at once."""
    interrupt(everything(), tmp_path, 16)
    assert_close(run(everything(**elsewhere), tmp_path), untouched)
    # Runs that were started together stay together.
    groups = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
    assert groups == {'runs_0-1', 'runs_2-2'}


@pytest.mark.slow
def test_a_group_that_was_never_saved_does_not_keep_its_runs_together(tmp_path):
    """It was killed before its first checkpoint, and comes back on other devices."""
    expected = run(tiny(runs=2, num_devices=1), tmp_path / 'untouched')
    (tmp_path / 'killed/checkpoints/runs_0-1/.7.new').mkdir(parents=True)
    assert_same(run(tiny(runs=2, num_devices=1), tmp_path / 'killed'), expected)
    groups = (tmp_path / 'killed/checkpoints').glob('runs_*/21')
    assert {path.parent.name for path in groups} == {'runs_0-0', 'runs_1-1'}


def test_a_workdir_that_is_removed_while_a_run_trains_ends_it(tmp_path, monkeypatch):
    advance = trainer.Progress.advance

    def remove(self, num_steps, totals):
        shutil.rmtree(tmp_path / 'run', ignore_errors=True)
        advance(self, num_steps, totals)

    monkeypatch.setattr(trainer.Progress, 'advance', remove)
    with pytest.raises(UserError, match='run was removed or replaced while this process'):
        run(tiny(), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_a_checkpoint_whose_step_was_altered_is_refused(tmp_path):
    run(tiny(), tmp_path)
    (group,) = (tmp_path / 'checkpoints').iterdir()
    arrays, about = checkpoints.read(group / '21')[1:]
    for step in (14, 20):  # with new checksums; 14 is the end of an epoch
        checkpoints.write(group / '21', arrays, {**about, 'step': step})
        with pytest.raises(UserError, match=rf'21 says that it is of step {step}, and its'):
            run(tiny(), tmp_path)


class Counting(nn.Module):
    """A model that counts its training steps, on which its logits depend."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        steps = self.variable('progress', 'steps', lambda: jnp.zeros((), jnp.int32))
        if train:
            steps.value += 1
        x = nn.BatchNorm(use_running_average=not train)(images.reshape(len(images), -1))
        return nn.Dense(self.num_classes)(x) / (1 + steps.value / 10)


def create_counting(num_classes: int) -> Counting:
    return Counting(num_classes)


def test_every_collection_of_a_model_is_saved_and_loaded(tmp_path, interrupt):
    constructor = f'{__name__}.create_counting'
    model = ConfigDict({'constructor': constructor, 'num_classes': 10})
    config = tiny(ema_decay=0.9, runs=2, runs_at_once=2)
    config.model = model
    expected = run(config, tmp_path / 'untouched')
    interrupt(config, tmp_path / 'interrupted', 10)
    assert_same(run(config, tmp_path / 'interrupted'), expected)
    networks = load_networks(tmp_path / 'interrupted', constructor)
    for i, result in enumerate(expected.runs):
        assert result.variables.keys() == {'params', 'batch_stats', 'progress'}
        assert result.variables['progress']['steps'] == 21
        loaded = jax.tree.map(lambda leaf, i=i: leaf[i], networks.variables)
        jax.tree.map(np.testing.assert_array_equal, loaded, result.variables)


@pytest.mark.slow
def test_more_epochs_give_what_a_longer_run_would_have(tmp_path):
    config = tiny()
    config.schedule.constructor = 'constant'
    run(config, tmp_path / 'extended')
    config.num_epochs = 5
    extended = run(config, tmp_path / 'extended')
    assert_same(extended, run(config, tmp_path / 'longer'))
    config.num_epochs = 4
    with pytest.raises(UserError, match='num_epochs: 4 epochs are 28 steps, but .* 35'):
        run(config, tmp_path / 'extended')


@pytest.mark.parametrize(
    ('schedule', 'is_fixed'),
    [
        ({'constructor': 'cosine'}, True),
        ({'constructor': 'constant', 'warmup': 0.1}, True),
        ({'constructor': 'constant'}, False),
        ({'constructor': 'step', 'every': 1.0}, False),
    ],
)
def test_more_epochs_are_refused_if_the_learning_rate_would_have_been_another(
    schedule, is_fixed
):
    config = tiny()
    config.schedule = ConfigDict(schedule)
    reason = explain_fixed_length(make_plan(config))
    assert ('its learning rate (config.schedule: ' in reason) == is_fixed


@pytest.mark.slow
@pytest.mark.parametrize(
    ('rates', 'at_once', 'moments', 'groups'),
    [
        ((0.1, 1e30), 2, [9, 2], {'runs_0-1'}),
        # Where all runs of a group diverge they leave no checkpoint; the second one is
        # interrupted in its third step.
        ((1e30, 0.1), 1, [10], {'runs_1-1'}),
    ],
)
def test_a_run_that_diverges_is_marked_and_the_others_continue(
    tmp_path, interrupt, rates, at_once, moments, groups
):
    config = tiny(runs_at_once=at_once)
    config.optimizer.constructor = 'sgd'
    config.dataset.update(validation='holdout', holdout_size=100, train_split='train[:800]')
    config.sweep.optimizer = ConfigDict({'learning_rate': rates})
    expected = run(config, tmp_path / 'untouched')
    assert [run.diverged and run.diverged[:2] for run in expected.runs] == [
        (1, 2) if rate == 1e30 else None for rate in rates
    ]
    interrupt(config, tmp_path / 'left', *moments)
    assert {path.name for path in (tmp_path / 'left/checkpoints').iterdir()} == groups
    assert_same(run(config, tmp_path / 'left'), expected)


@pytest.mark.slow
def test_a_run_that_diverges_keeps_the_last_good_checkpoint_to_resume_from(tmp_path):
    config = tiny()
    run(config, tmp_path)
    delete(tmp_path, 14, 21)
    config.checkpoint.allow_changes = True
    config.optimizer.learning_rate = 1e30
    with pytest.raises(UserError) as error:
        run(config, tmp_path)
    message = str(error.value)
    assert 'training diverged in epoch 2 at step 9, where the learning rate was' in message
    good = tmp_path / 'checkpoints/runs_0-0/7'
    assert message.endswith(f'the last good checkpoint is {good}')
    assert steps(tmp_path) == {'7'}
    # The refused attempt does not prevent others.
    config.optimizer.learning_rate = 5e-4
    result = run(config, tmp_path)
    changes = ['optimizer.learning_rate from 0.001 to 0.0005 after step 7']
    assert result.metrics['changed_settings'] == changes
    assert len(result.runs[0].rows) == 3
    config.optimizer.learning_rate = 3e-4
    with pytest.raises(UserError, match='allow_changes: .* has no step left'):
        run(config, tmp_path)


@pytest.mark.parametrize('number', [2, 4])
def test_a_state_that_has_diverged_is_not_saved_within_an_epoch(
    tmp_path, interrupt, number
):
    """The first step takes it too far; the loss of the second one shows it."""
    config = tiny()
    config.optimizer.update({'constructor': 'sgd', 'learning_rate': 1e38})
    interrupt(config, tmp_path, number, saved=False)
    assert not (tmp_path / 'checkpoints').exists()


@pytest.mark.slow
def test_all_changes_of_settings_are_reported(tmp_path, interrupt):
    config = tiny()
    interrupt(config, tmp_path, 7)
    config.checkpoint.allow_changes = True
    config.optimizer.learning_rate = 5e-4
    interrupt(config, tmp_path, 3)
    config.augment.shift = 2.0
    interrupt(config, tmp_path, 4)
    config.loss.label_smoothing = 0.1
    assert run(config, tmp_path).metrics['changed_settings'] == [
        'optimizer.learning_rate from 0.001 to 0.0005 after step 7',
        'augment.shift from 0.0 to 2.0 after step 10',
        'loss.label_smoothing from unset to 0.1 after step 14',
    ]


def test_what_is_saved_does_not_change_while_it_is_written(tmp_path, monkeypatch):
    """The next epoch may end before; its numbers are not of this checkpoint."""
    write = checkpoints.write

    def write_late(path, arrays, about):
        if path.name == '7':
            time.sleep(1)
        write(path, arrays, about)

    monkeypatch.setattr(checkpoints, 'write', write_late)
    run(tiny(log_every_steps=2), tmp_path)
    for number, step in enumerate((7, 14, 21), 1):
        found = checkpoints.read(tmp_path / f'checkpoints/runs_0-0/{step}')
        assert len(found.about['histories'][0]) == number
        assert found.about['logged'] == [{}]
        assert found.arrays['state.step'] == step
