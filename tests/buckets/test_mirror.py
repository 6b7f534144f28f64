import json
import pathlib
import shutil
import subprocess
import sys
import time
import uuid

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from repository import ROOT
from small_configs import small

from mnist_flax.buckets import mirror
from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate


class PoweredFileSystem(MemoryFileSystem):
    """Files in memory, of a machine that goes dark after so many changes."""

    protocol = 'powered'
    store = {}  # noqa: RUF012  # as in the class above
    pseudo_dirs = ['']  # noqa: RUF012
    left = 10**9

    def _change(self):
        if type(self).left <= 0:
            raise OSError('no power')
        type(self).left -= 1

    def put_file(self, *arguments, **options):
        self._change()
        super().put_file(*arguments, **options)

    def pipe_file(self, *arguments, **options):
        self._change()
        super().pipe_file(*arguments, **options)

    def rm_file(self, *arguments, **options):
        self._change()
        super().rm_file(*arguments, **options)


fsspec.register_implementation('powered', PoweredFileSystem)


@pytest.fixture
def address():
    """A folder of its own."""
    return f'powered://bucket/{uuid.uuid4().hex}'


def read_all(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in pathlib.Path(folder).rglob('*')
        if path.is_file()
    }


def list_bucket(address):
    system, root = fsspec.url_to_fs(address)
    return {name.removeprefix(f'{root}/') for name in system.find(root)}


def write_checkpoint(folder, step):
    checkpoints.write(folder / 'checkpoints' / str(step), {'x': np.full(9, step)}, {})


def test_what_is_written_comes_back(address):
    with mirror.mirrored(address) as folder:
        (folder / 'a').mkdir()
        (folder / 'a/b.txt').write_text('b')
        (folder / '.lock').touch()
        (folder / 'ä c.txt').write_text('c')
    assert not folder.exists()
    assert list_bucket(address) == {'.index.json', 'a/b.txt', 'ä c.txt'}
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'a/b.txt': b'b', 'ä c.txt': b'c'}
        (folder / 'a/b.txt').unlink()
        (folder / 'ä c.txt').write_text('d')
    with mirror.downloaded(address) as folder:
        assert read_all(folder) == {'ä c.txt': b'd'}
    assert list_bucket(address) == {'.index.json', 'ä c.txt'}


def test_it_is_copied_while_the_program_works(address):
    with mirror.mirrored(address, every=0.01) as folder:
        (folder / 'a.txt').write_text('a')
        for _ in range(1000):
            if 'a.txt' in list_bucket(address):
                break
            time.sleep(0.01)
        assert 'a.txt' in list_bucket(address)


def test_wherever_the_power_fails_a_whole_checkpoint_and_its_records_are_there(
    address, monkeypatch
):
    """Each number of changes that a bucket can have seen is tried."""
    with mirror.mirrored(address) as folder:
        write_checkpoint(folder, 1)
        (folder / 'metrics.jsonl').write_text('1\n')
    before = list_bucket(address)
    system, root = fsspec.url_to_fs(address)
    saved = {name: system.cat_file(f'{root}/{name}') for name in before}
    ended, num_changes = False, 0
    steps = set()
    while not ended:
        system.rm(root, recursive=True)
        for name, content in saved.items():
            system.pipe_file(f'{root}/{name}', content)
        try:
            with mirror.mirrored(address, every=1e9) as folder:
                (folder / 'metrics.jsonl').write_text('1\n2\n')
                write_checkpoint(folder, 2)
                shutil.rmtree(folder / 'checkpoints' / '1')
                monkeypatch.setattr(PoweredFileSystem, 'left', num_changes)
            ended = True
        except UserError as error:
            assert 'no power' in str(error)
            assert read_all(folder)['metrics.jsonl'] == b'1\n2\n'  # it can be rescued
        monkeypatch.setattr(PoweredFileSystem, 'left', 10**9)
        with mirror.mirrored(address) as folder:
            found = checkpoints.restore(folder / 'checkpoints')
            assert not [*folder.rglob('*.damaged')]
            step = int(found.arrays['x'][0])
            assert (folder / 'metrics.jsonl').read_text() in ('1\n', '1\n2\n')[step - 1 :]
            steps.add(step)
            # The one that was cut off is trained and saved anew.
            write_checkpoint(folder, 2)
        with mirror.downloaded(address) as folder:
            assert checkpoints.restore(folder / 'checkpoints').arrays['x'][0] == 2
            names = {*read_all(folder)}
        assert list_bucket(address) == {*names, '.index.json'}, 'something was left behind'
        num_changes += 1
    assert steps == {1, 2}
    assert num_changes > len(before)


def test_who_begins_later_has_the_folder(address, capsys):
    first = mirror.mirrored(address, every=0.01)
    folder = first.__enter__()
    (folder / 'a.txt').write_text('first')
    with workdirs.lock(folder):
        with mirror.mirrored(address) as second:
            (second / 'a.txt').write_text('second')
        (folder / 'a.txt').write_text('of the first, later')
        for _ in range(1000):
            if not (folder / '.lock').exists():
                break
            time.sleep(0.01)
        with pytest.raises(UserError, match='was removed or replaced'):
            workdirs.check_lock(folder)
    with pytest.raises(UserError, match='another process has begun to work in powered://'):
        first.__exit__(None, None, None)
    with mirror.downloaded(address) as found:
        assert read_all(found) == {'a.txt': b'second'}
    assert capsys.readouterr().err.count('warning: ') == 1


def test_files_of_others_stay(address):
    system, root = fsspec.url_to_fs(address)
    with mirror.mirrored(address) as folder:
        (folder / 'a.txt').write_text('a')
    system.pipe_file(f'{root}/notes.txt', b'mine')
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'a.txt': b'a'}
        (folder / 'a.txt').unlink()
    assert list_bucket(address) == {'notes.txt', '.index.json'}


def test_a_folder_that_was_copied_there_by_hand_is_taken_as_it_is(address):
    system, root = fsspec.url_to_fs(address)
    system.pipe_file(f'{root}/checkpoints/a', b'a')
    system.pipe_file(f'{root}/.lock', b'')
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'checkpoints/a': b'a'}


@pytest.mark.parametrize(
    ('index', 'message'),
    [
        ('{', 'cannot read powered://'),
        ('[]', 'cannot read powered://'),
        ('{"owner": "", "files": ["../x"], "unfinished": []}', 'names with ".."'),
    ],
)
def test_a_strange_index_is_one_line(address, index, message):
    system, root = fsspec.url_to_fs(address)
    system.pipe_file(f'{root}/.index.json', index.encode())
    with pytest.raises(UserError, match=message), mirror.mirrored(address):
        pass


@pytest.mark.parametrize('address', ['https://localhost:1/x', 'powered://', 'no://b/x'])
def test_what_is_no_folder_of_a_bucket_is_one_line(address):
    with (
        pytest.raises(UserError, match='--workdir: cannot '),
        mirror.mirrored(address),
    ):
        pass


def test_a_bucket_that_cannot_be_reached_is_told_once_and_tried_again(
    address, monkeypatch, capsys
):
    with mirror.mirrored(address, every=0.01) as folder:
        monkeypatch.setattr(PoweredFileSystem, 'left', 0)
        (folder / 'a.txt').write_text('a')
        time.sleep(0.3)
        monkeypatch.setattr(PoweredFileSystem, 'left', 10**9)
    found = capsys.readouterr()
    assert found.err.count('warning: --workdir: cannot write to powered://') == 1
    assert found.err.endswith('; trying on\n')
    assert found.out == f'copied to {address}\n'
    assert 'a.txt' in list_bucket(address)


def test_a_run_is_trained_resumed_and_read_there(
    address, tmp_path, capsys, without_figures
):
    config = small()
    train_and_evaluate(config, address)
    train_and_evaluate(config, str(tmp_path))
    printed = capsys.readouterr().out
    assert f'written to {address}: ' in printed
    with mirror.downloaded(address, 'history.csv') as folder:
        assert read_all(folder) == {'history.csv': (tmp_path / 'history.csv').read_bytes()}
    networks = load_networks(address, 'research_parts.Small')
    images = np.zeros((1, 28, 28, 1), np.uint8)
    expected = load_networks(tmp_path, 'research_parts.Small').logits(images)
    np.testing.assert_array_equal(networks.logits(images), expected)
    train_and_evaluate(config, address)
    assert 'were done before' in capsys.readouterr().out
    config.seed = 1
    with pytest.raises(UserError, match=f'--workdir: {address}/checkpoints/runs_0-0/'):
        train_and_evaluate(config, address)
    with pytest.raises(UserError, match=f'{address}/x.* holds no finished run'):
        load_networks(f'{address}/x')


@pytest.mark.slow
def test_a_machine_that_dies_loses_at_most_seconds(tmp_path, command):
    arguments = (
        '-m', 'mnist_flax.main', '--config.num_epochs=40', '--config.model.conv=xla',
        '--config.dataset.train_split=train[:4000]', '--config.model.features=(4,8)',
    )  # fmt: skip
    address = f'file://{tmp_path}/bucket/run'
    process = subprocess.Popen(
        [sys.executable, *arguments, f'--workdir={address}'],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    index = tmp_path / 'bucket/run/.index.json'
    for _ in range(600):
        if index.exists() and 'SHA256SUMS' in index.read_text():
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    resumed = command(*arguments, f'--workdir={address}')
    assert (resumed.returncode, resumed.stderr) == (0, '')
    assert 'were done before' in resumed.stdout
    whole = command(*arguments, f'--workdir={tmp_path}/whole')
    assert whole.returncode == 0
    histories = [
        (folder / 'history.csv').read_text()
        for folder in (tmp_path / 'bucket/run', tmp_path / 'whole')
    ]
    assert histories[0] == histories[1]
    picture = command('scripts/predict.py', f'--workdir={address}', 'docs/demo.png')
    assert picture.stderr == ''
    evaluated = command(
        'scripts/evaluate.py', f'--workdir={address}', '--split=test[:100]',
        '--corruptions=false',
    )  # fmt: skip
    assert f'written to {address}/evaluation: ' in evaluated.stdout
    found = json.loads((index.parent / 'evaluation/evaluation.json').read_text())
    assert found['images'] == 100
