"""What is renamed or removed only when something else is on the disk.

tests/soak/power_cuts.py cuts the power of whole trainings, which takes a superuser; here
the order of the calls is compared.
"""

import os
import pathlib
import shutil

import numpy as np
import pytest

from mnist_flax.checkpointing import workdirs
from mnist_flax.checkpointing.checkpoints import CheckpointManager
from mnist_flax.common import files
from mnist_flax.data.shards import Examples
from mnist_flax.preparation import writer

pytestmark = pytest.mark.skipif(
    not os.path.isdir('/proc/self/fd'), reason='files are known by their descriptors'
)


class Disk:
    """Knows which files and folders are on the disk, and checks what is done to them."""

    def __init__(self, monkeypatch):
        self.renamed = []
        self._safe = {}
        for owner, name, check in (
            (os, 'fsync', self._sync),
            (pathlib.Path, 'rename', self._rename),
            (pathlib.Path, 'replace', self._rename),
            (shutil, 'rmtree', self._remove),
        ):
            monkeypatch.setattr(owner, name, self._then(check, getattr(owner, name)))

    def is_safe(self, path):
        return self._safe.get(path) == self._describe(path)

    def _describe(self, path):
        if path.is_dir():
            return sorted((entry.name, entry.inode()) for entry in os.scandir(path))
        return path.stat().st_ino, path.stat().st_mtime_ns

    def _then(self, check, function):
        def both(*arguments, **options):
            check(*arguments)
            return function(*arguments, **options)

        return both

    def _sync(self, descriptor):
        path = pathlib.Path(os.readlink(f'/proc/self/fd/{descriptor}'))
        self._safe[path] = self._describe(path)

    def _rename(self, source, target):
        source, target = pathlib.Path(source), pathlib.Path(target)
        if target.name.startswith('.'):
            return  # to be removed
        for path in (source, *source.rglob('*')):
            assert self.is_safe(path), f'{path} is renamed before it is on the disk'
        # Its files keep their inodes under the new name.
        for path in (source, *source.rglob('*')):
            self._safe[target / path.relative_to(source)] = self._safe[path]
        self.renamed.append(target)

    def _remove(self, path, **options):
        if pathlib.Path(path).exists():
            self.check_names()

    def check_names(self):
        for path in self.renamed:
            if path.exists():
                names = self._safe.get(path.parent, [])
                entry = (path.name, path.stat().st_ino)
                assert entry in names, f'the name {path} is not on the disk'


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def test_a_checkpoint_is_on_the_disk_before_an_older_one_is_removed(disk, tmp_path):
    manager = CheckpointManager(tmp_path / 'checkpoints/runs_0-0', 2)
    for step in (1, 2, 3):
        manager.save(step, {'a': np.zeros(1000)}, {'step': step})
    manager.close()
    assert [path.name for path in disk.renamed] == ['1', '2', '3']
    disk.check_names()
    for folder in (tmp_path, tmp_path / 'checkpoints'):
        assert disk.is_safe(folder), folder


def test_a_report_is_on_the_disk_when_it_is_said_to_be(disk, tmp_path):
    folder = workdirs.prepare(str(tmp_path / 'a/b'))
    workdirs.write(folder, {'metrics.json': b'{}', 'history.csv': b'1'})
    assert {path.name for path in disk.renamed} == {'metrics.json', 'history.csv'}
    for path in (folder, folder.parent, tmp_path):
        assert disk.is_safe(path), path


def test_a_prepared_data_set_is_on_the_disk_before_it_has_its_name(disk, tmp_path):
    examples = Examples(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4, dtype=np.int32))
    folder = writer.write(
        tmp_path, 'four', {'train': examples}, tuple('abcd'), 'tfrecord', 'Four', 'pad'
    )
    assert disk.renamed == [folder]
    for path in (folder.parent, tmp_path):
        assert disk.is_safe(path), path


def test_drives_that_cannot_sync_folders_are_written_to(monkeypatch, tmp_path):
    fsync = os.fsync

    def only_files(descriptor):
        if os.path.isdir(f'/proc/self/fd/{descriptor}'):
            raise OSError(22, 'Invalid argument')
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', only_files)
    files.write_atomically({tmp_path / 'a': b'1'})
    assert (tmp_path / 'a').read_bytes() == b'1'
