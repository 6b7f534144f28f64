"""What else may be in a bucket: files of others, and strange ones."""

import fsspec
import pytest
from powered import list_keys, read_all

from mnist_flax.buckets import bucket, mirror
from mnist_flax.buckets.bucket import Bucket
from mnist_flax.common import addresses
from mnist_flax.common.errors import UserError


def test_files_of_others_stay(address):
    system, root = fsspec.url_to_fs(address)
    with mirror.mirrored(address) as folder:
        (folder / 'a.txt').write_text('a')
    system.pipe_file(f'{root}/notes.txt', b'mine')
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'a.txt': b'a'}
        (folder / 'a.txt').unlink()
    assert 'notes.txt' in list_keys(address)


def test_a_folder_that_was_copied_there_by_hand_is_taken_as_it_is(address):
    system, root = fsspec.url_to_fs(address)
    system.pipe_file(f'{root}/checkpoints/a', b'a')
    system.pipe_file(f'{root}/.lock', b'')
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'checkpoints/a': b'a'}


def test_a_file_that_is_missing_there_is_told(address, capsys):
    with mirror.mirrored(address) as folder:
        (folder / 'a.txt').write_text('a')
        (folder / 'b.txt').write_text('b')
    found = Bucket(address)
    found.remove([found.read_newest()['a.txt']])
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'b.txt': b'b'}
    assert 'lacks 1 files that its index names, such as a.txt' in capsys.readouterr().err


def test_a_folder_of_other_things_is_refused_and_a_large_run_is_not(address, monkeypatch):
    monkeypatch.setattr(bucket, '_MOST_BYTES', 3)
    with mirror.mirrored(address) as folder:
        (folder / 'a.txt').write_text('large')
    with mirror.mirrored(address) as folder:
        assert read_all(folder) == {'a.txt': b'large'}
    system, root = fsspec.url_to_fs(address)
    system.pipe_file(f'{root}x/large', b'large')
    with (
        pytest.raises(UserError, match='holds 1 files of 0 GiB, and no index of a run'),
        mirror.mirrored(f'{address}x'),
    ):
        pass


START = f'000001_{"0" * 19}_{"a" * 8}'


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({f'{START}/.index.json': '{'}, 'cannot read powered://'),
        ({f'{START}/.index.json': '[]'}, 'cannot read powered://'),
        (
            {f'{START}/.index.json': '{"files": {"../x": "a"}}'},
            "it holds a file named '../x'",
        ),
        ({f'{START}/.index.json': '{"files": {"/x": "a"}}'}, "it holds a file named '/x'"),
        ({'/etc/x': ''}, "it holds a file named '/etc/x'"),
        ({'a\\b': ''}, 'it holds a file named'),
    ],
)
def test_what_is_strange_there_is_one_line(address, files, message):
    system, root = fsspec.url_to_fs(address)
    for name, content in files.items():
        system.pipe_file(f'{root}/{name}', content.encode())
    with pytest.raises(UserError, match=message), mirror.mirrored(address):
        pass


@pytest.mark.parametrize('address', ['https://localhost:1/x', 'powered://', 'no://b/x'])
def test_what_is_no_folder_of_a_bucket_is_one_line(address):
    with (
        pytest.raises(UserError, match='--workdir: '),
        mirror.mirrored(address),
    ):
        pass


@pytest.mark.parametrize(
    ('address', 'expected'),
    [
        ('s3://b/run1/', 's3://b/run1'),
        ('s3://b//run1//x/', 's3://b/run1/x'),
        ('file:///tmp/run', 'file:///tmp/run'),
    ],
)
def test_addresses_have_one_form(address, expected):
    assert addresses.normalize(address) == expected
