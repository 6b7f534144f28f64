import pytest

from mnist_flax.common import files


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / 'a.txt'
    for content in (b'first', b'second'):
        files.write_atomically({path: content})
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path, link = tmp_path / 'a.txt', tmp_path / 'link.txt'
    files.write_atomically({path: b'old'})
    link.hardlink_to(path)  # what a reader has that opened the file before
    files.write_atomically({path: b'new'})
    assert (path.read_bytes(), link.read_bytes()) == (b'new', b'old')


def test_the_old_file_survives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / 'a.txt'
    files.write_atomically({path: b'old'})

    def no_space_left(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files.os, 'fsync', no_space_left)
    with pytest.raises(OSError, match='No space left'):
        files.write_atomically({path: b'new'})
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_files_all_are_replaced_or_none(tmp_path):
    first, second = tmp_path / 'a.txt', tmp_path / 'missing/b.txt'
    files.write_atomically({first: b'old'})
    with pytest.raises(FileNotFoundError):
        files.write_atomically({first: b'new', second: b'new'})
    assert first.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [first]
