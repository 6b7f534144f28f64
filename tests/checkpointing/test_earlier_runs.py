"""Earlier runs: none is lost, or continued as another."""

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default, robust
from mnist_flax.checkpointing import earlier_runs
from mnist_flax.common.errors import UserError
from mnist_flax.data import builders
from mnist_flax.training.settings import to_tree


def tree(get_config=default.get_config, **changes):
    """Settings as plain values, with some fields changed: ``optimizer__name='sgd'``."""
    config = to_tree(get_config())
    for path, value in changes.items():
        *parents, field = path.split('__')
        subtree = config
        for parent in parents:
            subtree = subtree[parent]
        subtree[field] = value
    return config


def compare(theirs, ours, allow_changes=False, why_length_is_fixed='it depends on it'):
    """Finds the changes between two configs, given by their fields that are not default."""
    path = pathlib.Path('checkpoints/runs_0-0/7')
    configs = tree(**ours), tree(**theirs)
    why = why_length_is_fixed
    return earlier_runs.find_changes(path, *configs, allow_changes, lambda: why)


def test_the_same_settings_are_resumed_and_so_are_those_that_change_no_result():
    changes = {
        'num_devices': 2,
        'runs_at_once': 1,
        'dataset__data_dir': str(builders.EMBEDDED_DIR),
        'checkpoint__keep': 5,
        'checkpoint__allow_changes': True,
        'log_every_steps': 50,
        'metrics': {'norm': {'constructor': 'gradient_norm'}},
        'evaluators': {'strangers': {'constructor': 'mine.evaluate'}},
        'writers': {'mine': {'constructor': 'mine.Writer'}},
    }
    assert compare({}, {}) == compare({}, changes) == compare(changes, {}) == []


def test_other_settings_are_refused_with_the_fields():
    with pytest.raises(UserError) as error:
        compare({}, {'seed': 4, 'optimizer__learning_rate': 0.1})
    message = str(error.value)
    assert '--workdir: checkpoints/runs_0-0/7 is of a run with other settings' in message
    assert '(optimizer.learning_rate 0.001, here 0.1, seed 0, here 4)' in message
    for way_out in ('another --workdir', 'resume=false'):
        assert way_out in message
    # Another seed would be another run.
    assert 'allow_changes=true' not in message
    with pytest.raises(UserError, match='allow_changes=true to resume it'):
        compare({}, {'optimizer__learning_rate': 0.1})


def test_other_settings_can_be_allowed_but_it_stays_the_same_run():
    changes = {'optimizer__learning_rate': 0.1}
    found = compare({}, changes, allow_changes=True)
    assert found == ['optimizer.learning_rate from 0.001 to 0.1']
    for field, value in (('seed', 1), ('batch_size', 32), ('dataset__holdout_size', 9)):
        found = f'other values of {field.replace("__", ".")}, which must stay the same'
        with pytest.raises(UserError, match=found):
            compare({}, {**changes, field: value}, allow_changes=True)


def test_more_epochs_are_allowed_unless_there_is_a_reason_against_it():
    theirs, ours = {'num_epochs': 3}, {'num_epochs': 4}
    assert compare(theirs, ours, why_length_is_fixed='') == []
    with pytest.raises(UserError, match='num_epochs 3, here 4: it depends on it'):
        compare(theirs, ours)


def test_a_field_that_was_added_since_had_the_value_that_is_the_default_today():
    theirs = tree()
    for name in ('ema_decay', 'schedule', 'loss', 'sweep'):
        del theirs[name]
    del theirs['optimizer']['clip_norm']
    assert earlier_runs.find_differences(tree(), theirs) == {}
    ours = tree(ema_decay=0.9, schedule__warmup=0.1, loss__gamma=2.0)
    assert earlier_runs.find_differences(ours, theirs) == {
        'ema_decay': (0.9, 0.0),
        'loss.gamma': (2.0, None),
        'schedule.warmup': (0.1, None),
    }
    # The default model's sizes are not those of another model.
    mine = {'constructor': 'my_models.create', 'hidden_size': 128}
    found = earlier_runs.find_differences(
        tree(model=mine), tree(model={'constructor': 'my_models.create'})
    )
    assert found == {'model.hidden_size': (128, None)}


def test_a_config_of_an_earlier_version_is_compared_by_the_names_of_today():
    theirs = tree(augment__constructor='mnist_flax.augment.create_augment')
    theirs['dataset'] |= {'drawn': 0}
    del theirs['dataset']['extra']
    assert earlier_runs.find_differences(tree(), theirs) == {}
    theirs = tree(
        robust.get_config,
        augment__constructor='mnist_flax.handwriting.create_handwriting',
        dataset__drawn=20_000,
    )
    del theirs['dataset']['extra']
    assert earlier_runs.find_differences(tree(robust.get_config), theirs) == {}
    ours = tree(robust.get_config, dataset__extra={})
    assert earlier_runs.find_differences(ours, theirs).keys() == {
        'dataset.extra.constructor',
        'dataset.extra.number',
    }


def test_a_config_before_research_is_compared_by_the_places_of_today():
    theirs = tree(label_smoothing=0.1, sweep={'learning_rate': [1e-3], 'dropout_rate': []})
    theirs['optimizer'] = {
        'name': 'adam', 'learning_rate': 1e-3, 'weight_decay': 0.0, 'schedule': 'onecycle',
        'warmup': 0.3, 'clip_norm': 0.0,
    }  # fmt: skip
    for name in ('loss', 'schedule', 'metrics', 'evaluators', 'writers', 'log_every_steps'):
        del theirs[name]
    ours = tree(
        loss__label_smoothing=0.1,
        schedule={'constructor': 'onecycle', 'warmup': 0.3},
        sweep={'optimizer': {'learning_rate': [1e-3]}},
    )
    assert earlier_runs.find_differences(ours, theirs) == {}


def test_a_new_start_keeps_what_was_there(tmp_path, capsys):
    for number in range(3):
        earlier_runs.start(tmp_path, tree(seed=number), resume=False)
        moved = f'the earlier run was moved to {tmp_path}/earlier_{number}\n'
        assert capsys.readouterr().out == (moved if number else '')
        (tmp_path / 'checkpoints/runs_0-0').mkdir(parents=True)
        (tmp_path / 'metrics.txt').write_text(f'run {number}')
        (tmp_path / 'notes.txt').write_text('by the user')
    for folder, number in (('earlier_1', 0), ('earlier_2', 1), ('.', 2)):
        assert (tmp_path / folder / 'metrics.txt').read_text() == f'run {number}'
        assert (tmp_path / folder / 'checkpoints/runs_0-0').is_dir()
    assert not (tmp_path / 'earlier_1/notes.txt').exists()


def test_a_report_without_checkpoints_is_not_replaced_by_that_of_another_run(tmp_path):
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(tree()))
    earlier_runs.start(tmp_path, tree(num_devices=2), resume=True)
    with pytest.raises(UserError, match='report of a run with other .*seed 0, here 1'):
        earlier_runs.start(tmp_path, tree(seed=1), resume=True)
    (tmp_path / 'checkpoints/runs_0-0').mkdir(parents=True)  # nothing was saved in it
    with pytest.raises(UserError, match='report of a run with other'):
        earlier_runs.start(tmp_path, tree(seed=1), resume=True)
    path.write_text('not one of ours')
    earlier_runs.start(tmp_path, tree(seed=1), resume=True)


trees = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.floats(allow_nan=False), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from('abcd'), inner, max_size=3),
    max_leaves=8,
)


@given(trees, trees)
def test_two_trees_differ_where_a_value_does(ours, theirs):
    assert earlier_runs.find_differences(ours, ours) == {}
    found = earlier_runs.find_differences(ours, theirs)
    assert (found == {}) == (ours == theirs)
    for path, values in found.items():
        for of, value in zip((ours, theirs), values, strict=True):
            for key in filter(None, path.split('.')):
                of = of.get(key) if isinstance(of, dict) else None
            assert of == value


def test_the_settings_that_may_differ_are_fields_of_the_config():
    for path in (*earlier_runs._MAY_DIFFER, *earlier_runs._MUST_NOT_CHANGE):
        value = tree()
        for name in path.split('.'):
            value = value[name]
