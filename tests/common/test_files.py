import pytest

from mnist_flax.common import files


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path, link = tmp_path / 'a.txt', tmp_path / 'link.txt'
    files.write_atomically({path: b'old'})
    link.hardlink_to(path)  # what a reader has that opened the file before
    files.write_atomically({path: b'new'})
    assert (path.read_bytes(), link.read_bytes()) == (b'new', b'old')
    assert {*tmp_path.iterdir()} == {path, link}


@pytest.mark.parametrize('others', [(), ('missing/b.txt',)])
def test_of_several_files_all_are_replaced_or_none(tmp_path, monkeypatch, others):
    path = tmp_path / 'a.txt'
    files.write_atomically({path: b'old'})

    def no_space_left(descriptor):
        raise OSError(28, 'No space left on device')

    if not others:
        monkeypatch.setattr(files.os, 'fsync', no_space_left)
    with pytest.raises(OSError, match='No space left|No such file'):
        files.write_atomically(dict.fromkeys([path, *map(tmp_path.joinpath, others)], b''))
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_has_left_is_removed_by_the_only_writer(tmp_path):
    left = tmp_path / '.history.csv.99999.tmp'
    others = {tmp_path / '.notes.tmp', tmp_path / '.other.csv.99999.tmp'}
    for path in (left, *others):
        path.write_text('')
    history = tmp_path / 'history.csv'
    files.write_atomically({history: b'1'})  # another one may be writing that file
    assert left.exists()
    files.write_atomically({history: b'2'}, alone=True)
    assert {*tmp_path.iterdir()} == {history, *others}
