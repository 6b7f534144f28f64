"""Pictures that are made to harm who decodes them, in processes with limits."""

import io
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from hostile_pictures import tiff_of_a_huge_tile, tiff_of_fractions
from PIL import Image

from mnist_flax.common.errors import UserError
from mnist_flax.recognition import decoding, pictures, workers
from mnist_flax.recognition.workers import Limits

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype(np.uint8)


def encode(pixels, file_format='PNG', **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


GOOD = encode(PIXELS)


def test_the_pixels_are_those_that_were_sent():
    np.testing.assert_array_equal(workers.decode(GOOD, 'it'), PIXELS)
    assert workers.count_pixels(GOOD, 'it') == PIXELS[..., 0].size
    assert workers.count_pixels(GOOD[:20], 'it') == 0
    assert workers.count_pixels(b'no picture', 'it') is None


def test_a_picture_that_takes_long_is_given_up():
    start = time.monotonic()
    with pytest.raises(UserError) as info:
        workers.decode(tiff_of_fractions(), 'it', limits=Limits(seconds=1, memory=2**30))
    assert str(info.value) == 'it: decoding it takes more than 1 s; save it anew, as PNG'
    assert time.monotonic() - start < 30  # it would take minutes if it were not
    np.testing.assert_array_equal(workers.decode(GOOD, 'it'), PIXELS)


def test_a_picture_that_takes_much_memory_is_given_up():
    large = encode(np.zeros((5000, 6000, 4), np.uint8))
    assert workers.decode(large, 'it').shape == (1000, 1200, 4)
    with pytest.raises(UserError, match='it: it takes too much memory to decode; save it'):
        workers.decode(large, 'it', limits=Limits(seconds=10, memory=250 * 2**20))
    np.testing.assert_array_equal(workers.decode(GOOD, 'it'), PIXELS)


def test_a_tiff_of_huge_tiles_is_refused():
    with pytest.raises(UserError, match='it is a TIFF of tiles of 46288 x 46288 pixels; a'):
        workers.decode(tiff_of_a_huge_tile(), 'it')


def test_a_process_that_crashes_is_one_line_and_the_next_picture_is_read(monkeypatch):
    crash = (
        'import os\n'
        'from mnist_flax.recognition import workers\n'
        'workers._DO["decode"] = lambda *_, **__: os.abort()\n'
        'workers.serve()'
    )
    monkeypatch.setattr(workers, '_START', crash)
    monkeypatch.setattr(workers, '_idle', [])
    with pytest.raises(UserError, match='it: the process that decodes it has ended; save'):
        workers.decode(GOOD, 'it')
    monkeypatch.undo()
    np.testing.assert_array_equal(workers.decode(GOOD, 'it'), PIXELS)


def test_a_process_that_has_ended_while_idle_is_replaced():
    workers.decode(GOOD, 'it')
    for worker in workers._idle:
        worker._process.kill()
        worker._process.wait()
    np.testing.assert_array_equal(workers.decode(GOOD, 'it'), PIXELS)


def test_the_limits_leave_room_on_machines_with_many_cores(monkeypatch):
    monkeypatch.setattr(workers, '_idle', [])
    monkeypatch.setenv('OPENBLAS_NUM_THREADS', '64')
    workers.decode(GOOD, 'it')
    (worker,) = workers._idle
    status = pathlib.Path(f'/proc/{worker._process.pid}/status').read_text()
    (size,) = re.findall(r'VmPeak:\s+(\d+) kB', status)
    assert int(size) < 250 * 2**10


def test_where_no_process_can_be_started_it_is_one_line(monkeypatch):
    monkeypatch.setattr(workers, '_START', 'raise SystemExit(1)')
    monkeypatch.setattr(workers, '_idle', [])
    with pytest.raises(
        UserError, match=r'the process that decodes pictures cannot be started \(exit'
    ):
        workers.decode(GOOD, 'it')


def is_alive(pid):
    try:
        return ') Z ' not in pathlib.Path(f'/proc/{pid}/stat').read_text()
    except FileNotFoundError:
        return False


def test_the_processes_end_with_their_parent():
    code = (
        'import os, sys\n'
        'from mnist_flax.recognition import workers\n'
        'workers.decode(sys.stdin.buffer.read(), "it")\n'
        'print(workers._idle[0]._process.pid, flush=True)\n'
        'os._exit(0)'
    )
    run = [sys.executable, '-c', code]
    pid = int(subprocess.run(run, input=GOOD, capture_output=True, check=True).stdout)
    end = time.monotonic() + 60
    while is_alive(pid):
        time.sleep(0.05)
        assert time.monotonic() < end


def test_a_process_that_was_forked_does_not_talk_to_the_worker_of_its_parent():
    code = (
        'import os, sys\n'
        'from mnist_flax.recognition import workers\n'
        'content = sys.stdin.buffer.read()\n'
        'pids = set()\n'
        'workers.decode(content, "it")\n'
        'child = os.fork()\n'
        'workers.decode(content, "it")\n'
        'print(workers._idle[0]._process.pid, flush=True)\n'
        'child and os.wait()\n'
    )
    run = [sys.executable, '-c', code]
    output = subprocess.run(run, input=GOOD, capture_output=True, check=True).stdout
    assert len({*output.split()}) == 2


@pytest.mark.parametrize(
    ('shape', 'file_format'),
    [
        ((8000, 8000), 'PNG'),
        ((8000, 8000, 3), 'PNG'),
        ((8000, 8000, 4), 'PNG'),
        ((8000, 8000, 3), 'JPEG'),
        ((5600, 5600, 4), 'WEBP'),
        ((5600, 5600, 3), 'TIFF'),
        ((5600, 5600), 'BMP'),
        ((5600, 5600), 'GIF'),
    ],
)
@pytest.mark.slow
def test_the_largest_pictures_that_are_allowed_are_within_the_limits(shape, file_format):
    pixels = np.zeros(shape, np.uint8)
    pixels[1000:3000, 2000:3000] = 255
    options = {'WEBP': {'lossless': True, 'method': 0}, 'TIFF': {'compression': 'tiff_lzw'}}
    content = encode(pixels, file_format, **options.get(file_format, {}))
    for _ in range(2):  # by the same process
        colours = pictures.read(content, 'it')
        assert 1000 <= max(colours.shape) <= 2047
    assert workers.count_pixels(content, 'it') == pixels.shape[0] * pixels.shape[1]
    assert len(content) <= decoding.MOST_BYTES
