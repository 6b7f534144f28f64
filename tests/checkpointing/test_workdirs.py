"""Workdirs: one process at a time, and no earlier run is lost or continued as another."""

import errno
import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default, robust
from mnist_flax.checkpointing import workdirs
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
    return workdirs.find_changes(path, *configs, allow_changes, lambda: why)


def test_workdirs_are_created_and_tried(tmp_path):
    path = workdirs.prepare(str(tmp_path / 'a/b'))
    assert path.is_dir()
    assert list(path.iterdir()) == []


def test_a_workdir_that_cannot_be_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    for workdir in (tmp_path / 'file', tmp_path / 'file/below', '~nosuch/below', '\0'):
        with pytest.raises(UserError, match='--workdir: cannot write to .*; use a folder'):
            workdirs.prepare(str(workdir))

    def no_space_left(files, alone):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(workdirs, 'write_atomically', no_space_left)
    with pytest.raises(UserError, match='No space left on device'):
        workdirs.write(tmp_path, {'a.txt': b''})


def test_a_folder_has_one_process_at_work_and_a_dead_one_does_not_count(tmp_path):
    program = (
        'import pathlib, sys, time\n'
        'from mnist_flax.checkpointing.workdirs import lock\n'
        'with lock(pathlib.Path(sys.argv[1])):\n'
        '    print("locked", flush=True)\n'
        '    time.sleep(60)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'locked\n'
    with pytest.raises(UserError, match='--workdir: another process is working in'):
        workdirs.lock(tmp_path).__enter__()
    process.kill()
    process.communicate()
    with workdirs.lock(tmp_path):
        pass


@pytest.mark.parametrize(
    'error',
    [OSError(errno.ENOLCK, ''), OSError(errno.EOPNOTSUPP, ''), NotImplementedError()],
)
def test_on_a_drive_without_locks_it_warns_and_goes_on(
    tmp_path, monkeypatch, capsys, error
):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(workdirs.filelock, 'FileLock', fail)
    with workdirs.lock(tmp_path):
        workdirs.write(tmp_path, {'file': b'content'})
    assert (tmp_path / 'file').read_bytes() == b'content'
    warning = (
        f'warning: --workdir: files cannot be locked in {tmp_path}; make sure that no '
    )
    assert capsys.readouterr().err.startswith(warning)


def test_a_workdir_that_was_removed_is_not_written_to(tmp_path):
    """Its lock is gone, so that another process may work in one that was made anew."""
    folder = tmp_path / 'run'
    folder.mkdir()
    with workdirs.lock(folder):
        workdirs.write(folder, {'a.txt': b'1'})
        shutil.rmtree(folder)
        with pytest.raises(UserError, match='run was removed or replaced while this'):
            workdirs.write(folder, {'a.txt': b'2'})
        assert not folder.exists()
        folder.mkdir()
        (folder / '.lock').write_text('')  # that of another process
        with pytest.raises(UserError, match='run was removed or replaced while this'):
            workdirs.write(folder, {'a.txt': b'2'})
        assert not (folder / 'a.txt').exists()


@pytest.mark.parametrize('make', [pathlib.Path.mkdir, 'link'])
def test_a_lock_that_cannot_be_is_one_line_and_harms_no_file(tmp_path, make):
    """Such as a link to a file elsewhere, in a folder from an unknown source."""
    (tmp_path / 'precious.txt').write_text('mine')
    if make == 'link':
        (tmp_path / '.lock').symlink_to(tmp_path / 'precious.txt')
    else:
        make(tmp_path / '.lock')
    with pytest.raises(UserError, match='--workdir: cannot write to .*/.lock'):
        workdirs.lock(tmp_path).__enter__()
    assert (tmp_path / 'precious.txt').read_text() == 'mine'


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
    assert workdirs.find_differences(tree(), theirs) == {}
    ours = tree(ema_decay=0.9, schedule__warmup=0.1, loss__gamma=2.0)
    assert workdirs.find_differences(ours, theirs) == {
        'ema_decay': (0.9, 0.0),
        'loss.gamma': (2.0, None),
        'schedule.warmup': (0.1, None),
    }
    # The default model's sizes are not those of another model.
    mine = {'constructor': 'my_models.create', 'hidden_size': 128}
    found = workdirs.find_differences(
        tree(model=mine), tree(model={'constructor': 'my_models.create'})
    )
    assert found == {'model.hidden_size': (128, None)}


def test_a_config_of_an_earlier_version_is_compared_by_the_names_of_today():
    theirs = tree(augment__constructor='mnist_flax.augment.create_augment')
    theirs['dataset'] |= {'drawn': 0}
    del theirs['dataset']['extra']
    assert workdirs.find_differences(tree(), theirs) == {}
    theirs = tree(
        robust.get_config,
        augment__constructor='mnist_flax.handwriting.create_handwriting',
        dataset__drawn=1600,
    )
    del theirs['dataset']['extra']
    assert workdirs.find_differences(tree(robust.get_config), theirs) == {}
    ours = tree(robust.get_config, dataset__extra={})
    assert workdirs.find_differences(ours, theirs).keys() == {
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
    assert workdirs.find_differences(ours, theirs) == {}


def test_a_new_start_keeps_what_was_there(tmp_path, capsys):
    for number in range(3):
        workdirs.start(tmp_path, tree(seed=number), resume=False)
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
    workdirs.start(tmp_path, tree(num_devices=2), resume=True)
    with pytest.raises(UserError, match='report of a run with other .*seed 0, here 1'):
        workdirs.start(tmp_path, tree(seed=1), resume=True)
    (tmp_path / 'checkpoints/runs_0-0').mkdir(parents=True)  # nothing was saved in it
    with pytest.raises(UserError, match='report of a run with other'):
        workdirs.start(tmp_path, tree(seed=1), resume=True)
    path.write_text('not one of ours')
    workdirs.start(tmp_path, tree(seed=1), resume=True)


trees = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.floats(allow_nan=False), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from('abcd'), inner, max_size=3),
    max_leaves=8,
)


@given(trees, trees)
def test_two_trees_differ_where_a_value_does(ours, theirs):
    assert workdirs.find_differences(ours, ours) == {}
    found = workdirs.find_differences(ours, theirs)
    assert (found == {}) == (ours == theirs)
    for path, values in found.items():
        for of, value in zip((ours, theirs), values, strict=True):
            for key in filter(None, path.split('.')):
                of = of.get(key) if isinstance(of, dict) else None
            assert of == value


def test_the_settings_that_may_differ_are_fields_of_the_config():
    for path in (*workdirs._MAY_DIFFER, *workdirs._MUST_NOT_CHANGE):
        value = tree()
        for name in path.split('.'):
            value = value[name]
