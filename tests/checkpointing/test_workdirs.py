import json
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from mnist_flax.checkpointing import workdirs
from mnist_flax.data.datasets import datasets
from mnist_flax.common.errors import UserError
from mnist_flax.training.plan import make_plan, to_tree


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
def compare(dataset):
    """Compares settings with those of a checkpoint."""

    def compare(theirs, **ours):
        config = short(**ours)
        plan = make_plan(config, dataset)
        path = pathlib.Path('checkpoints/runs_0-0/7')
        return workdirs.find_changes(path, to_tree(config), to_tree(short(**theirs)), plan)

    return compare


def test_workdirs_are_made_and_probed(tmp_path):
    path = workdirs.prepare(str(tmp_path / 'a/b'))
    assert path.is_dir()
    assert list(path.iterdir()) == []


def test_a_workdir_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    for workdir in (tmp_path / 'file', tmp_path / 'file/below', '~nosuch/below', '\0'):
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
        'from mnist_flax.checkpointing.workdirs import lock\n'
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


@pytest.mark.parametrize('make', [pathlib.Path.mkdir, 'link'])
def test_a_lock_that_cannot_be_is_one_line_and_harms_no_file(tmp_path, make):
    """Such as a link in a stranger's folder, to a file elsewhere."""
    (tmp_path / 'precious.txt').write_text('mine')
    if make == 'link':
        (tmp_path / '.lock').symlink_to(tmp_path / 'precious.txt')
    else:
        make(tmp_path / '.lock')
    with pytest.raises(UserError, match='--workdir: cannot write to .*/.lock'):
        workdirs.lock(tmp_path).__enter__()
    assert (tmp_path / 'precious.txt').read_text() == 'mine'


def test_the_same_settings_go_on_and_so_do_those_that_change_no_run(compare):
    assert compare({}) == []
    changes = {
        'num_devices': 2,
        'runs_at_once': 1,
        'dataset__data_dir': str(datasets.EMBEDDED_DIR),
        'checkpoint__keep': 5,
        'checkpoint__allow_changes': True,
    }
    assert compare({}, **changes) == compare(changes) == []


def test_other_settings_are_refused_with_the_fields(compare):
    with pytest.raises(UserError) as error:
        compare({}, seed=4, optimizer__learning_rate=0.1)
    message = str(error.value)
    assert '--workdir: found in checkpoints/runs_0-0/7 a run with other set' in message
    assert '(optimizer.learning_rate 0.001, here 0.1, seed 0, here 4)' in message
    for way_out in ('another --workdir', 'resume=false'):
        assert way_out in message
    # Another seed would be another run.
    assert 'allow_changes=true' not in message
    with pytest.raises(UserError, match='allow_changes=true to go on from it'):
        compare({}, optimizer__learning_rate=0.1)


def test_told_so_a_run_goes_on_with_other_settings_but_stays_the_same_run(compare):
    changes = {'optimizer__learning_rate': 0.1, 'checkpoint__allow_changes': True}
    found = compare({}, **changes)
    assert found == ['optimizer.learning_rate from 0.001 to 0.1']
    for change in ({'seed': 1}, {'batch_size': 32}, {'dataset__holdout_size': 9}):
        (field,) = change
        found = f'allow_changes: found other values of {field.replace("__", ".")} than'
        with pytest.raises(UserError, match=found):
            compare({}, **changes, **change)


def test_more_epochs_are_allowed_if_the_learning_rate_stays_what_it_was(compare):
    constant = {'optimizer__schedule': 'constant'}
    assert compare({'num_epochs': 3, **constant}, num_epochs=7, **constant) == []


@pytest.mark.parametrize(
    'optimizer',
    [
        {'optimizer__schedule': 'cosine'},
        {'optimizer__schedule': 'constant', 'optimizer__warmup': 0.1},
    ],
)
def test_more_epochs_are_refused_if_it_would_not_and_the_reason_is_said(compare, optimizer):
    with pytest.raises(UserError) as error:
        compare({'num_epochs': 3, **optimizer}, num_epochs=4, **optimizer)
    message = str(error.value)
    assert 'num_epochs 3, here 4: its learning rate (schedule ' in message
    assert 'depends on the length' in message


def test_a_fresh_start_keeps_what_was_there(tmp_path, capsys):
    for number in range(3):
        tree = to_tree(short(seed=number))
        workdirs.begin(tmp_path, tree, resume=False)
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
    path.write_text(json.dumps(to_tree(short())))
    workdirs.begin(tmp_path, to_tree(short(num_devices=2)), resume=True)
    with pytest.raises(
        UserError, match='the report of a run with other settings .seed 0, here 1'
    ):
        workdirs.begin(tmp_path, to_tree(short(seed=1)), resume=True)
    path.write_text('not one of ours')
    workdirs.begin(tmp_path, to_tree(short(seed=1)), resume=True)


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
