"""TensorBoard's event files, read back record by record."""

import math
import struct

import pytest
from matplotlib.figure import Figure
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from mnist_flax.writers import tensorboard


def record(step, run=0, event='step', **numbers):
    return {'event': event, 'run': run, 'seed': run + 5, 'step': step, 'epoch': 1} | numbers


def read(path):
    """Yields the events of a file, of which the checksums must be right."""
    data = path.read_bytes()
    while data:
        size, checksum = struct.unpack('<QI', data[:12])
        content, data_checksum = struct.unpack(f'<{size}sI', data[12 : 16 + size])
        assert checksum == masked_crc32c(data[:8])
        assert data_checksum == masked_crc32c(content)
        yield Event.FromString(content)
        data = data[16 + size :]


def shown(folder):
    """Lists tag, step and number of what TensorBoard shows of a run."""
    points = []
    for path in sorted(folder.iterdir()):
        for event in read(path):
            if event.session_log.status == SessionLog.START:
                points = [point for point in points if point[1] < event.step]
            points += [(of.tag, event.step, of.simple_value) for of in event.summary.value]
    return points


def test_numbers_are_there_at_once_a_folder_for_each_run(tmp_path):
    writer = tensorboard(tmp_path, 0)
    writer.write(record(50, train_loss=0.5, learning_rate=1e-3, note='not a number'))
    writer.write(record(50, run=1, train_loss=math.nan))
    writer.write(record(60, event='epoch', train_loss=0.25))
    # Not closed: a process that is killed leaves the same.
    folder = tmp_path / 'tensorboard'
    assert [path.name for path in sorted(folder.iterdir())] == [
        'run_0_seed_5',
        'run_1_seed_6',
    ]
    assert shown(folder / 'run_0_seed_5') == [
        ('step/train_loss', 50, 0.5),
        ('step/learning_rate', 50, pytest.approx(1e-3)),
        ('epoch/train_loss', 60, 0.25),
    ]
    ((tag, step, loss),) = shown(folder / 'run_1_seed_6')
    assert (tag, step) == ('step/train_loss', 50)
    assert math.isnan(loss)


def test_a_resume_leaves_no_point_twice(tmp_path):
    writer = tensorboard(tmp_path, 0)
    for step in (10, 20, 30):
        for run in (0, 1):
            writer.write(record(step, run, train_loss=step))
    # Killed after step 30, resumed from the state after step 20; run 1 had finished.
    tensorboard(tmp_path, 20).write(record(30, train_loss=31))
    folder = tmp_path / 'tensorboard'
    assert [point[1:] for point in shown(folder / 'run_0_seed_5')] == [
        (10, 10),
        (20, 20),
        (30, 31),
    ]
    assert [point[1:] for point in shown(folder / 'run_1_seed_6')] == [
        (10, 10),
        (20, 20),
        (30, 30),
    ]


def test_a_figure_is_a_picture_of_its_size(tmp_path):
    writer = tensorboard(tmp_path, 0)
    writer.write_figure(record(10), 'reliability', Figure(figsize=(2, 1), dpi=100))
    (path,) = tmp_path.glob('tensorboard/*/*')
    (value,) = [value for event in read(path) for value in event.summary.value]
    assert value.tag == 'step/reliability'
    assert (value.image.width, value.image.height) == (200, 100)
    assert value.image.encoded_image_string.startswith(b'\x89PNG')


WRITE = 'import pathlib, mnist_flax.writers as w; w.tensorboard(pathlib.Path("{}"), 0)'


def test_without_tensorboardx_the_extra_is_named(command, tmp_path):
    (tmp_path / 'tensorboardX.py').write_text('raise ImportError("No module named x")')
    code = f'from mnist_flax.common import cli\ncli.run(lambda: exec({WRITE!r}))'
    process = command('-c', code, PYTHONPATH=str(tmp_path))
    assert process.returncode == 1
    assert process.stderr.startswith('error: config.writers: ')
    assert process.stderr.endswith("install it: pip install -e '.[tensorboard]'\n")
    assert process.stderr.count('\n') == 1


def test_tensorflow_is_not_imported(command, tmp_path):
    (tmp_path / 'tensorflow').mkdir()
    (tmp_path / 'tensorflow/__init__.py').write_text('print("imported")\n')
    about = record(1, loss=0.5)
    code = WRITE.format(tmp_path) + f'.write({about})'
    process = command('-c', code, PYTHONPATH=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert process.stdout == ''
    assert len([*tmp_path.glob('tensorboard/*/*')]) == 1
