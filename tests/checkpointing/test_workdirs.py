"""Workdirs: tried, locked and written by one process at a time."""

import errno
import pathlib
import shutil
import subprocess
import sys

import pytest

from mnist_flax.checkpointing import workdirs
from mnist_flax.common.errors import UserError


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
