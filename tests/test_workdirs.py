import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from mnist_flax import workdirs
from mnist_flax.checks import UserError
from mnist_flax.settings import make_plan, to_tree


def short(**changes):
    config = default.get_config()
    config.dataset.update({'train_split': 'train[:300]', 'test_split': 'test[:50]'})
    for path, value in changes.items():
        *parents, field = path.split('__')
        tree = config
        for parent in parents:
            tree = tree[parent]
        tree[field] = value
    return config


@pytest.fixture(scope='module')
def dataset():
    return make_plan(short()).dataset


@pytest.fixture
def begin(tmp_path, dataset):
    def begin(**changes):
        config = short(**changes)
        workdirs.begin(tmp_path, config, make_plan(config, dataset))

    return begin


def test_workdirs_are_made_and_probed(tmp_path):
    path = workdirs.prepare(str(tmp_path / 'a/b'))
    assert path.is_dir()
    assert list(path.iterdir()) == []


def test_a_workdir_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    for workdir in (tmp_path / 'file', tmp_path / 'file/below'):
        with pytest.raises(UserError, match='--workdir: cannot write to .*; allowed: '):
            workdirs.prepare(str(workdir))


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def no_space_left(files):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(workdirs, 'write_atomically', no_space_left)
    with pytest.raises(UserError, match='No space left on device'):
        workdirs.write(tmp_path, {'a.txt': b''})


def test_a_folder_has_one_process_at_work_and_a_dead_one_does_not_count(tmp_path):
    program = (
        'import pathlib, sys, time\n'
        'from mnist_flax.workdirs import lock\n'
        'with lock(pathlib.Path(sys.argv[1])):\n'
        '    print("locked", flush=True)\n'
        '    time.sleep(60)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'locked\n'
    with pytest.raises(UserError, match='--workdir: another process is at work in'):
        workdirs.lock(tmp_path).__enter__()
    process.kill()
    process.communicate()
    with workdirs.lock(tmp_path):
        pass


def test_the_same_settings_go_on_and_so_do_those_that_change_no_run(begin):
    begin()
    begin()
    begin(
        num_devices=2,
        runs_at_once=1,
        dataset__data_dir='/elsewhere',
        checkpoint__keep=5,
        checkpoint__allow_changes=True,
    )


def test_other_settings_are_refused_with_the_fields(begin, tmp_path):
    begin()
    before = (tmp_path / 'checkpoints/config.json').read_text()
    with pytest.raises(UserError) as error:
        begin(seed=4, optimizer__learning_rate=0.1)
    message = str(error.value)
    assert f'--workdir: found in {tmp_path} a run with other settings (' in message
    assert '(optimizer.learning_rate 0.001, here 0.1, seed 0, here 4)' in message
    assert 'batch_size' not in message
    for way_out in ('another --workdir', 'resume=false', 'allow_changes=true'):
        assert way_out in message
    assert '\n' not in message
    assert (tmp_path / 'checkpoints/config.json').read_text() == before


def test_told_so_a_run_goes_on_with_other_settings_but_stays_the_same_run(begin, tmp_path):
    begin()
    begin(optimizer__learning_rate=0.1, checkpoint__allow_changes=True)
    kept = json.loads((tmp_path / 'checkpoints/config.json').read_text())
    assert kept['optimizer']['learning_rate'] == 0.1
    for change in ({'seed': 1}, {'batch_size': 32}, {'dataset__holdout_size': 9}):
        (field,) = change
        found = f'allow_changes: found other values of {field.replace("__", ".")} in'
        with pytest.raises(UserError, match=found):
            begin(optimizer__learning_rate=0.1, checkpoint__allow_changes=True, **change)


def test_more_epochs_are_allowed_if_the_learning_rate_stays_what_it_was(begin):
    begin(optimizer__schedule='constant', num_epochs=3)
    begin(optimizer__schedule='constant', num_epochs=7)


@pytest.mark.parametrize(
    'optimizer',
    [
        {'optimizer__schedule': 'cosine'},
        {'optimizer__schedule': 'constant', 'optimizer__warmup': 0.1},
    ],
)
def test_more_epochs_are_refused_if_it_would_not_and_the_reason_is_said(begin, optimizer):
    begin(num_epochs=3, **optimizer)
    with pytest.raises(UserError) as error:
        begin(num_epochs=4, **optimizer)
    message = str(error.value)
    assert 'num_epochs 3, here 4: its learning rate (schedule ' in message
    assert 'depends on the length' in message


def test_a_fresh_start_keeps_what_was_there(begin, tmp_path, capsys):
    begin()
    (tmp_path / 'metrics.txt').write_text('an earlier run')
    (tmp_path / 'notes.txt').write_text('by the user')
    for number in (1, 2):
        begin(seed=number, checkpoint__resume=False)
        assert f'moved to {tmp_path}/earlier_{number}\n' in capsys.readouterr().out
    assert (tmp_path / 'earlier_1/metrics.txt').read_text() == 'an earlier run'
    seeds = [
        json.loads((tmp_path / name / 'checkpoints/config.json').read_text())['seed']
        for name in ('earlier_1', 'earlier_2', '.')
    ]
    assert seeds == [0, 1, 2]
    assert (tmp_path / 'notes.txt').exists()
    assert not (tmp_path / 'metrics.txt').exists()


def test_settings_that_cannot_be_read_are_not_overwritten(begin, tmp_path):
    begin()
    path = tmp_path / 'checkpoints/config.json'
    path.write_text('{"seed": ')
    with pytest.raises(UserError, match='cannot read .*config.json'):
        begin()
    assert path.read_text() == '{"seed": '


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
        for tree, value in zip((ours, theirs), values, strict=True):
            for key in filter(None, path.split('.')):
                tree = tree.get(key) if isinstance(tree, dict) else None
            assert tree == value


def test_the_settings_that_may_differ_are_fields_of_the_config():
    tree = to_tree(default.get_config())
    for path in (*workdirs._MAY_DIFFER, *workdirs._MUST_NOT_CHANGE):
        value = tree
        for name in path.split('.'):
            value = value[name]
