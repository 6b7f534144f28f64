"""The records of a TFDS file: tfrecord, which is TFDS's usual form, or array_record."""

import importlib.util
import os
import pathlib
import struct
from collections.abc import Iterator

import google_crc32c

from mnist_flax.common.errors import require

FORMATS = ('tfrecord', 'array_record')


def read(path: pathlib.Path, file_format: str) -> Iterator[bytes]:
    """Reads the records of a file one after another.

    Args:
      path: The file.
      file_format: One of `FORMATS`.

    Raises:
      UserError: The library for array_record is not installed.
      ValueError: The file is damaged; the library of array_record raises others too.
    """
    if file_format == 'tfrecord':
        yield from _read_tfrecord(path)
    else:
        yield from _read_array_record(path)


def write(path: pathlib.Path, file_format: str, contents: Iterator[bytes]) -> int:
    """Writes records into a file.

    Args:
      path: The file.
      file_format: One of `FORMATS`.
      contents: The records.

    Returns:
      How many bytes the records have.

    Raises:
      UserError: The library for array_record is not installed.
      OSError: The file cannot be written.
    """
    num_bytes = 0
    if file_format == 'tfrecord':
        with path.open('wb') as file:
            for record in contents:
                num_bytes += len(record)
                file.write(frame(record))
            file.flush()
            os.fsync(file.fileno())
    else:
        _require_array_record()
        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(str(path), 'group_size:1')
        for record in contents:
            num_bytes += len(record)
            writer.write(record)
        writer.close()
    return num_bytes


def frame(record: bytes) -> bytes:
    """Puts a record into the form that it has in a tfrecord.

    Its length and its content are each followed by a checksum, a masked CRC-32C
    (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
    """
    length = struct.pack('<Q', len(record))
    return length + _checksum(length) + record + _checksum(record)


def _checksum(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack('<I', ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _read_tfrecord(path: pathlib.Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open('rb') as file:
        while file.tell() < size:
            place = file.tell()
            header = file.read(12)
            length = int.from_bytes(header[:8], 'little')
            # A damaged length could claim more than the memory holds.
            fits = len(header) == 12 and place + length + 16 <= size
            record = file.read(length) if fits else b''
            if not fits or header + record + file.read(4) != frame(record):
                raise ValueError(f'the record at byte {place} is not as it was written')
            yield record


def _read_array_record(path: pathlib.Path) -> Iterator[bytes]:
    _require_array_record()
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    source = ArrayRecordDataSource(str(path))
    # Some at a time: reading one by one takes longer, and all may not fit in memory.
    for start in range(0, len(source), 1000):
        yield from source.__getitems__(range(start, min(start + 1000, len(source))))


def _require_array_record() -> None:
    require(
        importlib.util.find_spec('array_record') is not None,
        'array_record needs a library that is not installed: pip install array_record',
    )
