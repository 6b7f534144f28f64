"""The caches of a user: bounded, and mended when they are damaged."""

import os

import pytest

from mnist_flax.common import caches

SHORT = (
    '--config.num_epochs=1', '--config.dataset.train_split=train[:600]',
    '--config.dataset.test_split=test[:200]', '--config.model.conv=xla',
    '--config.model.features=(4,8)', '--config.model.hidden_size=16',
)  # fmt: skip


def test_the_files_that_were_not_used_for_longest_are_removed(tmp_path):
    for i in range(10):
        path = tmp_path / f'{i}-cache'
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + 10 * i, 1000))  # when it was read, and written
    caches.trim(tmp_path, most=1000)
    assert len([*tmp_path.iterdir()]) == 10
    caches.trim(tmp_path, most=999)
    assert {path.name for path in tmp_path.iterdir()} == {
        f'{i}-cache' for i in range(6, 10)
    }
    caches.trim(tmp_path / 'absent')


@pytest.mark.slow
def test_a_damaged_cache_of_programs_is_mended_with_one_line(command, tmp_path):
    cache = tmp_path / 'compiled'

    def train():
        workdir = f'--workdir={tmp_path}/workdir_{len([*tmp_path.iterdir()])}'
        process = command(
            '-m', 'mnist_flax.main', *SHORT, workdir, JAX_COMPILATION_CACHE_DIR=str(cache)
        )
        assert process.returncode == 0, process.stderr
        return process.stderr

    assert train() == ''
    programs = [*cache.glob('*-cache')]
    assert len(programs) > 5
    for path in programs[::2]:
        path.write_bytes(path.read_bytes()[:100])
    damaged = f'warning: {cache} was damaged and is empty now; programs are compiled anew\n'
    assert train() == damaged
    assert train() == ''
    assert {path.name for path in programs} <= {path.name for path in cache.iterdir()}
