import pathlib
import shutil
import subprocess
import sys

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from powered import PoweredFileSystem, list_keys, read_all, read_bucket, wait_until
from repository import ROOT
from small_configs import small

from mnist_flax.buckets import mirror
from mnist_flax.buckets.bucket import Bucket
from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate


def write_checkpoint(folder, step):
    checkpoints.write(folder / 'checkpoints' / str(step), {'x': np.full(9, step)}, {})


def rotate(folder):
    """Does what a run does between two copies."""
    (folder / 'metrics.jsonl').write_text('1\n2\n')
    write_checkpoint(folder, 2)
    shutil.rmtree(folder / 'checkpoints' / '1')


@pytest.fixture
def restore_bucket(address):
    """A bucket with one checkpoint and its record, as often as it is called."""
    with mirror.mirrored(address) as folder:
        write_checkpoint(folder, 1)
        (folder / 'metrics.jsonl').write_text('1\n')
    system, root = fsspec.url_to_fs(address)
    saved = {name: system.cat_file(name) for name in system.find(root)}

    def restore():
        PoweredFileSystem.left, PoweredFileSystem.then = 10**9, None
        system.rm(root, recursive=True)
        for name, content in saved.items():
            system.pipe_file(name, content)

    yield restore
    PoweredFileSystem.left, PoweredFileSystem.then = 10**9, None


def test_what_is_written_comes_back(address):
    with mirror.mirrored(address) as folder:
        (folder / 'a').mkdir()
        (folder / 'a/b.txt').write_text('b')
        (folder / '.lock').touch()
        (folder / 'ä c.txt').write_text('c')
    assert not folder.exists()
    assert read_bucket(address) == {'a/b.txt': b'b', 'ä c.txt': b'c'}
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'a/b.txt': b'b', 'ä c.txt': b'c'}
        (folder / 'a/b.txt').unlink()
        (folder / 'ä c.txt').write_text('d')
    with mirror.downloaded(address, ['ä c.txt', 'a']) as folder:
        assert read_all(folder) == {'ä c.txt': b'd'}


def test_it_is_copied_while_the_program_works(address):
    with mirror.mirrored(address, seconds_between=0.01) as folder:
        (folder / 'a.txt').write_text('a')
        wait_until(lambda: 'a.txt' in read_bucket(address))


@pytest.mark.slow
def test_wherever_the_power_fails_a_whole_checkpoint_and_its_records_are_there(
    address, restore_bucket
):
    """Each number of requests that a bucket can have seen is tried."""
    steps, num_moments, ended = set(), 0, False
    while not ended:
        restore_bucket()
        try:
            with mirror.mirrored(address, seconds_between=1e9) as folder:
                rotate(folder)
                PoweredFileSystem.left = num_moments
            ended = True
        except UserError as error:
            assert 'no power' in str(error)
            assert str(folder) in str(error)
            assert read_all(folder)['metrics.jsonl'] == b'1\n2\n'  # it can be rescued
        PoweredFileSystem.left = 10**9
        with mirror.mirrored(address) as folder:
            found = checkpoints.restore(folder / 'checkpoints')
            assert not [*folder.rglob('*.damaged')]
            step = int(found.arrays['x'][0])
            assert (folder / 'metrics.jsonl').read_text() in ('1\n', '1\n2\n')[step - 1 :]
            steps.add(step)
            write_checkpoint(folder, 2)  # which was cut off, or is replaced
        with mirror.mirrored(address) as folder:
            assert checkpoints.restore(folder / 'checkpoints').arrays['x'][0] == 2
        num_moments += 1
    assert steps == {1, 2}
    assert num_moments > 10


def newest_step(folder):
    return int(checkpoints.restore(folder / 'checkpoints').arrays['x'][0])


def save(folder, step):
    """Saves a checkpoint and removes the one before, as a run does."""
    before = newest_step(folder)
    write_checkpoint(folder, step)
    shutil.rmtree(folder / 'checkpoints' / str(before))


@pytest.mark.parametrize('does', ['save', 'nothing', 'nothing while a third one starts'])
@pytest.mark.parametrize(
    'moment', ['at the start', pytest.param('in the last copy', marks=pytest.mark.slow)]
)
def test_whenever_another_process_starts_nothing_is_lost(
    address, restore_bucket, does, moment
):
    """After each request of the first one, which saves step 3, another one starts."""

    def start_another():
        with mirror.mirrored(address, seconds_between=1e9) as folder:
            found.append(newest_step(folder))
            if does == 'save':
                save(folder, 5)
            elif does != 'nothing':
                with mirror.mirrored(address) as third:
                    assert newest_step(third) == found[0]

    def interrupt_after(num_requests):
        PoweredFileSystem.then, PoweredFileSystem.left = start_another, num_requests

    ends = set()
    for num_requests in range(1000):
        restore_bucket()
        found = []  # what the other one finds
        try:
            if moment == 'at the start':
                interrupt_after(num_requests)
            with mirror.mirrored(address, seconds_between=1e9) as folder:
                if moment == 'at the start':
                    PoweredFileSystem.left, PoweredFileSystem.then = 10**9, None
                save(folder, 7 if found and does == 'save' else 3)
                if moment == 'in the last copy':
                    interrupt_after(num_requests)
            end = 'copied'
        except UserError as error:
            assert 'another process has begun to work in powered://' in str(error)
            end = 'refused'
        PoweredFileSystem.left, PoweredFileSystem.then = 10**9, None
        ends.add(end)
        with mirror.mirrored(address) as folder:
            final = newest_step(folder)
        if not found:
            break  # all of its requests have been interrupted
        if moment == 'at the start':
            assert found == [1]
            saved = 7 if does == 'save' else 3  # it has found what the other one saved
            assert final == (saved if end == 'copied' else 5 if does == 'save' else 1)
        else:
            assert found == [3] if end == 'copied' else found[0] in (1, 3)
            assert final == (5 if does == 'save' else found[0])
    assert num_requests > 5
    assert ends == {'copied', 'refused'}


def test_who_is_no_longer_the_one_ends_at_its_next_checkpoint(address, capsys):
    def train():
        with mirror.mirrored(address, seconds_between=0.01) as folder:
            (folder / 'a.txt').write_text('first')
            with workdirs.lock(folder):
                with mirror.mirrored(address) as second:
                    (second / 'a.txt').write_text('second')
                (folder / 'a.txt').write_text('of the first, later')
                wait_until(lambda: not (folder / '.lock').exists())
                workdirs.check_lock(folder)

    with pytest.raises(UserError, match='was removed or replaced'):
        train()
    assert read_bucket(address) == {'a.txt': b'second'}
    assert 'warning: --workdir: another process has begun' in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoints_that_come_and_go_do_not_stop_it(address):
    with mirror.mirrored(address, seconds_between=0.001) as folder:
        for step in range(1, 30):
            write_checkpoint(folder, step)
            if step > 2:
                shutil.rmtree(folder / 'checkpoints' / str(step - 2))
        wait_until(lambda: 'checkpoints/29/SHA256SUMS' in read_bucket(address))
    names = {name.split('/')[1] for name in read_bucket(address)}
    assert names == {'28', '29'}


def test_what_is_renamed_is_there_meanwhile(address):
    with mirror.mirrored(address, seconds_between=1e9) as folder:
        (folder / 'model').mkdir()
        (folder / 'model/x').write_text('1')
    files = Bucket(address).read_newest()
    folder.mkdir()
    working = mirror._Mirror(Bucket(address), folder)
    (folder / 'model').rename(folder / '.model.old')
    assert not working.copy()
    assert read_bucket(address) == {'model/x': b'1'}
    assert working.copy()
    assert read_bucket(address) == {}
    assert list_keys(address) >= {*files.values()}  # only checkpoints are removed


def test_a_copy_that_is_removed_empties_no_bucket(address, capsys):
    with mirror.mirrored(address) as folder:
        (folder / 'a.txt').write_text('a')

    def train():
        with mirror.mirrored(address, seconds_between=1e9) as folder:
            shutil.rmtree(folder)
            folder.mkdir()

    with pytest.raises(UserError, match='was removed; start again'):
        train()
    assert read_bucket(address) == {'a.txt': b'a'}


def test_what_a_run_raises_is_not_hidden(address, capsys):
    def train():
        with mirror.mirrored(address) as folder:
            (folder / 'a.txt').write_text('a')
            PoweredFileSystem.left = 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    PoweredFileSystem.left = 10**9
    error = capsys.readouterr().err
    assert error.startswith('warning: --workdir: cannot read powered://')
    assert 'what is not there yet is in /' in error


def test_an_upload_that_fails_is_no_file_that_has_gone(address, kept_folders, monkeypatch):
    def fail(self, local, *arguments, **options):
        gone.unlink(missing_ok=True)
        raise OSError('no network')

    with mirror.mirrored(address, seconds_between=1e9) as folder:
        (folder / 'precious.txt').write_text('a')
        gone = folder / 'gone.txt'
        gone.write_text('b')
        first = MemoryFileSystem.put_file
        monkeypatch.setattr(PoweredFileSystem, 'put_file', fail)
        monkeypatch.setattr(mirror.time, 'sleep', lambda seconds: monkeypatch.setattr(
            PoweredFileSystem, 'put_file', first
        ))  # fmt: skip
    assert read_bucket(address) == {'precious.txt': b'a'}


def test_runs_in_folders_of_a_run_stay(address):
    inner = f'{address}/checkpoints/inner'
    with mirror.mirrored(inner) as folder:
        write_checkpoint(folder, 3)
    for _ in range(3):
        with mirror.mirrored(address) as folder:
            number = len([*folder.glob('checkpoints/[0-9]')])
            write_checkpoint(folder, number + 1)
    with mirror.mirrored(inner) as folder:
        assert checkpoints.restore(folder / 'checkpoints').arrays['x'][0] == 3


def test_a_bucket_that_cannot_be_reached_is_told_once_and_tried_again(
    address, monkeypatch, capsys
):
    tries = []

    def fail(self, *arguments, **options):
        tries.append(arguments)
        raise OSError('no network')

    first = MemoryFileSystem.put_file
    with mirror.mirrored(address, seconds_between=0.01) as folder:
        monkeypatch.setattr(PoweredFileSystem, 'put_file', fail)
        (folder / 'a.txt').write_text('a')
        wait_until(lambda: len(tries) > 3)
        monkeypatch.setattr(PoweredFileSystem, 'put_file', first)
    found = capsys.readouterr()
    assert found.err.count('warning: --workdir: cannot write to powered://') == 1
    assert found.err.endswith('(no network)\n')
    assert read_bucket(address) == {'a.txt': b'a'}


def test_a_run_is_trained_resumed_and_read_there(
    address, tmp_path, capsys, without_figures
):
    config = small()
    train_and_evaluate(config, address)
    train_and_evaluate(config, str(tmp_path))
    printed = capsys.readouterr().out
    assert f'written to {address}: ' in printed
    assert read_bucket(address)['history.csv'] == (tmp_path / 'history.csv').read_bytes()
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
    """With a folder as the bucket, which another process sees too."""
    address = f'folder://{tmp_path}/bucket/run'
    train = (
        'import sys\n'
        f'sys.path.append({str(pathlib.Path(__file__).parent)!r})\nimport powered\n'
        'from mnist_flax.common import cli\nfrom absl import flags\n'
        'cli.define_config("configs/default.py")\n'
        'def main():\n'
        '  from mnist_flax.train import train_and_evaluate\n'
        f'  train_and_evaluate(flags.FLAGS.config, {address!r})\n'
        'cli.run(main)'
    )
    settings = (
        '--config.num_epochs=40', '--config.model.conv=xla',
        '--config.dataset.train_split=train[:4000]', '--config.model.features=(4,8)',
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, '-c', train, *settings], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    wait_until(
        lambda: any('SHA256SUMS' in name for name in read_bucket(address)), seconds=120
    )
    process.kill()
    process.wait()
    resumed = command('-c', train, *settings)
    assert (resumed.returncode, resumed.stderr) == (0, '')
    assert 'were done before' in resumed.stdout
    whole = command('-m', 'mnist_flax.main', *settings, f'--workdir={tmp_path}/whole')
    assert whole.returncode == 0
    history = (tmp_path / 'whole/history.csv').read_bytes()
    assert read_bucket(address)['history.csv'] == history
