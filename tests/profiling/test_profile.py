"""A profile of a small loop: its operations by their names in JAX."""

import gzip
import json
import shutil

import pytest
from trace_a_loop import NUM_STEPS

from mnist_flax.profiling import profile


@pytest.fixture(scope='module')
def folders(command, tmp_path_factory):
    """That of the loop, and that of something else, which was traced later."""
    folders = [tmp_path_factory.mktemp(name) for name in ('loop', 'later')]
    # In a process of its own: a trace holds all programs of its process, and reading those
    # of a whole run of the tests takes seconds.
    process = command('tests/profiling/trace_a_loop.py', *folders)
    assert process.returncode == 0, process.stderr
    return folders


@pytest.fixture
def folder(folders):
    return folders[0]


def test_operations_have_the_names_of_the_model(folder):
    operations = {of.name: of for of in profile.dearest_operations(folder)}
    product = operations['layer/dot_general']
    assert product.calls == operations['dot_general'].calls == NUM_STEPS
    assert product.seconds > operations['layer/tanh'].seconds > 0
    assert product.what  # what to look for in the trace


def test_nothing_is_counted_twice(folder):
    """The loop lasts as long as what is in it."""
    operations = profile.dearest_operations(folder, count=1000)
    assert not [of.name for of in operations if 'while' in of.name]
    assert sum(of.share for of in operations) == pytest.approx(1)
    assert [of.share for of in operations] == sorted(
        (of.share for of in operations), reverse=True
    )
    assert profile.dearest_operations(folder, count=2) == operations[:2]


def test_perfetto_and_tensorboard_have_their_files(folder):
    (path,) = folder.glob('plugins/profile/*/perfetto_trace.json.gz')
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
    (first, *_) = profile.dearest_operations(folder)
    names = [event.get('name') for event in events]
    assert names.count(first.what) == NUM_STEPS
    assert len([*folder.glob('plugins/profile/*/*.xplane.pb')]) == 1


def test_a_newer_trace_is_read(tmp_path, folders):
    loop, later = folders
    (old,) = loop.glob('plugins/profile/*')
    shutil.copytree(old, tmp_path / 'plugins/profile/2000_01_01_00_00_00')
    shutil.copytree(later, tmp_path, dirs_exist_ok=True)
    names = {of.name for of in profile.dearest_operations(tmp_path)}
    assert 'dot_general' in names
    assert 'layer/tanh' not in names


def test_the_table_is_aligned():
    operations = [
        profile.Operation(
            'jvp(CNN)/Dense_0/dot_general', 'dot.1 and 2 more', 1407, 2.5, 0.8
        ),
        profile.Operation('add', 'fusion.3', 469, 0.625, 0.2),
    ]
    assert profile.to_text(operations).splitlines() == [
        'share  seconds  calls  operation                     in the trace',
        '80.0%    2.500  1,407  jvp(CNN)/Dense_0/dot_general  dot.1 and 2 more',
        '20.0%    0.625    469  add                           fusion.3',
    ]
    assert profile.to_text([]) == 'share  seconds  calls  operation  in the trace'
