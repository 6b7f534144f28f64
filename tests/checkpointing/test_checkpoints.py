"""Checkpoints: what was saved is read, and what is damaged is not."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from repository import ROOT

from mnist_flax.checkpointing import checkpoints
from mnist_flax.checkpointing.checkpoints import CheckpointManager
from mnist_flax.common.errors import UserError

ARRAYS = {
    'state.params.Dense_0.kernel': np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    'state.step': np.array([7, 7], np.int32),
    'state.key': np.array([[1, 2**32 - 1], [3, 4]], np.uint32),
}
ABOUT = {'histories': [[0.1, float('nan')], [1e-300, 2**40]], 'note': None}


def save(folder, *steps, keep=3):
    manager = CheckpointManager(folder, keep)
    for step in steps:
        manager.save(step, ARRAYS, {**ABOUT, 'step': step})
    manager.close()
    return folder


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    return save(tmp_path_factory.mktemp('checkpoints') / 'runs', 3, 6, 9)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of three checkpoints."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / 'runs'))


def newest_step(folder):
    checkpoint = checkpoints.restore(folder)
    return checkpoint and checkpoint.about['step']


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_restored_is_what_was_saved(saved, monkeypatch):
    found = checkpoints.restore(saved)
    assert found.path == saved / '9'
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert str(found.about) == str({**ABOUT, 'step': 9})  # as text, nan equals itself
    monkeypatch.chdir(saved)
    assert checkpoints.read(pathlib.Path('6')).about['step'] == 6


def test_the_last_ones_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, keep=2)
    assert names(tmp_path) == ['2', '3']
    save(tmp_path, 4, keep=2)
    assert names(tmp_path) == ['3', '4']


def test_a_checkpoint_is_written_in_the_background(tmp_path):
    manager = CheckpointManager(tmp_path, 3)
    path = manager.save(1, {'a': np.zeros(2_000_000)}, {})
    assert not (path / 'SHA256SUMS').exists()
    manager.close()
    assert (path / 'SHA256SUMS').exists()


def test_where_there_is_no_checkpoint_none_is_restored(tmp_path):
    assert newest_step(tmp_path / 'absent') is None
    (tmp_path / 'notes').mkdir()
    (tmp_path / '12').write_text('a file')
    assert newest_step(tmp_path) is None
    with pytest.raises(UserError, match='absent is damaged .no file SHA256SUMS'):
        checkpoints.read(tmp_path / 'absent')


LARGEST = 'arrays/**/*'
FILES = (
    '_CHECKPOINT_METADATA', 'about/metadata', 'arrays/_METADATA', 'SHA256SUMS', LARGEST
)  # fmt: skip


def find(path, pattern):
    files = filter(pathlib.Path.is_file, path.glob(pattern))
    return max(files, key=lambda file: file.stat().st_size)


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


@pytest.mark.parametrize('damage', [pathlib.Path.unlink, truncate, empty, flip_a_bit])
@pytest.mark.parametrize('name', FILES)
def test_damage_is_noticed_and_the_one_before_is_used(folder, name, damage, capsys):
    damage(find(folder / '9', name))
    assert newest_step(folder) == 6
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith(f'warning: checkpoint {folder / "9"} is damaged (')
    assert captured.err.endswith('renamed to 9.damaged, and the one before is used\n')
    assert captured.err.count('\n') == 1
    assert (folder / '9.damaged').is_dir()
    # Training reaches the same step again, and can save it.
    save(folder, 9)
    assert newest_step(folder) == 9


def test_a_checkpoint_without_half_of_its_files_is_damaged(folder):
    shutil.rmtree(folder / '9/arrays')
    shutil.rmtree(folder / '6/about')
    assert newest_step(folder) == 3


def test_if_all_are_damaged_no_file_is_changed(folder):
    def contents():
        return {path: path.is_file() and path.read_bytes() for path in folder.rglob('*')}

    for step in ('3', '6', '9'):
        flip_a_bit(find(folder / step, LARGEST))
    before = contents()
    with pytest.raises(UserError, match='all checkpoints in .* are damaged .*9 is damaged'):
        checkpoints.restore(folder)
    assert contents() == before


def test_what_killed_processes_and_file_browsers_leave_does_no_harm(folder):
    for name in ('.12.new.orbax-checkpoint-tmp', '.12.new', '.3.old'):
        (folder / name / 'arrays').mkdir(parents=True)
    (folder / '9/arrays/.DS_Store').write_text('')
    assert newest_step(folder) == 9
    save(folder, 12)
    assert names(folder) == ['12', '6', '9']


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'model'
    for value in (1, 2):
        checkpoints.write(path, {'a': np.array(value)}, {'value': value})
        assert checkpoints.read(path).about == {'value': value}
        assert int(checkpoints.read(path).arrays['a']) == value

    # A process was killed between its two renames.
    path.rename(tmp_path / '.model.old')

    def no_space_left(folder):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoints.files, 'sync_tree', no_space_left)
    with pytest.raises(UserError, match='cannot write the checkpoint .*No space left'):
        checkpoints.write(path, {'a': np.array(3)}, {'value': 3})
    assert checkpoints.read(path).about == {'value': 2}
    with pytest.raises(UserError, match='cannot write the checkpoint .*No space left'):
        save(tmp_path / 'runs', 1)


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, command):
    """After a failure Orbax would go on, in threads that nobody can wait for."""
    process = command(
        '-c',
        'import resource, sys, pathlib, numpy as np\n'
        'from mnist_flax.checkpointing import checkpoints, orbax_files\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n'
        'arrays = {str(i): np.full((1000, i + 1), 7.0) for i in range(20)}\n'
        'orbax_files.ocp = None\n'
        'checkpoints.write(pathlib.Path(sys.argv[1]), arrays, {})\n',
        tmp_path / 'runs/7',
    )
    last = process.stderr.splitlines()[-1]
    assert 'UserError: --workdir: cannot write the checkpoint' in last
    assert '7 (File too large); use a folder where' in last
    assert not list((tmp_path / 'runs').iterdir())


def test_what_no_run_could_have_written_is_not_opened(folder, monkeypatch):
    """Of an unknown source: pipes, huge files, and zeros that are huge when unpacked."""
    sums = folder / '9/SHA256SUMS'
    content = sums.read_bytes()
    sums.unlink()
    with pytest.raises(UserError, match=r'9 is damaged \(no file SHA256SUMS\)'):
        checkpoints.read(folder / '9')
    sums.write_bytes(content)
    for name, make in (
        ('arrays/pipe', os.mkfifo),
        ('arrays/.pipe', os.mkfifo),
        ('link', lambda path: path.symlink_to('SHA256SUMS')),
        ('.folder', lambda path: path.symlink_to(folder / '6')),
    ):
        make(folder / '9' / name)
        with pytest.raises(UserError, match=f'{name} is neither a file nor a folder'):
            checkpoints.read(folder / '9')
        (folder / '9' / name).unlink()
    metadata = folder / '9/arrays/_METADATA'
    described = metadata.read_bytes()
    metadata.unlink()
    os.mkfifo(metadata)
    with pytest.raises(UserError, match='_METADATA is neither a file nor a folder'):
        checkpoints.read(folder / '9')
    metadata.unlink()
    metadata.write_bytes(described)
    with (folder / '9/.huge').open('wb') as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r'9 is damaged \(files of 1,099,5'):
        checkpoints.read(folder / '9')
    (folder / '9/.huge').unlink()
    assert checkpoints.read(folder / '9').about['step'] == 9
    with (folder / '9/huge').open('wb') as file:
        file.truncate(2**40)  # of zeros, which take no room
    with pytest.raises(UserError, match=r'9 is damaged \(files of 1,099,5'):
        checkpoints.read(folder / '9')
    checkpoints.write(folder / 'zeros', {'kernel': np.zeros(10**6, np.float32)}, {})
    monkeypatch.setattr(checkpoints, '_MOST_BYTES', 10**6)
    with pytest.raises(UserError, match='cannot be read .arrays of 4,000,000 bytes'):
        checkpoints.read(folder / 'zeros')


def test_nothing_is_unpickled(saved, command):
    """A pickle can run any code, and a checkpoint may be from an unknown source."""
    process = command(
        '-c',
        'import os, pathlib, sys\n'
        'from mnist_flax.checkpointing import checkpoints\n'
        'sys.addaudithook(lambda event, _: event == "pickle.find_class" and os._exit(3))\n'
        'print(checkpoints.restore(pathlib.Path(sys.argv[1])).about["step"])\n',
        saved,
    )
    assert (process.returncode, process.stdout) == (0, '9\n'), process.stderr
    for path in (ROOT / 'mnist_flax').rglob('*.py'):
        text = path.read_text()
        assert 'import pickle' not in text
        assert 'allow_pickle=True' not in text
