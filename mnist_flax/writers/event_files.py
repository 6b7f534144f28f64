"""TensorBoard's event files, written without TensorFlow."""

import io
import os
import pathlib
import struct
import time
from collections.abc import Mapping
from typing import Any

from mnist_flax.common.errors import UserError

FOLDER = 'tensorboard'

# What a record is about; the other numbers are drawn, by step.
_ABOUT = ('run', 'seed', 'step', 'epoch')


def tensorboard(workdir: pathlib.Path, first_step: int) -> 'EventFiles':
    """Writes metrics for TensorBoard: ``tensorboard --logdir=<workdir>/tensorboard``.

    Args:
      workdir: Folder of the runs; each has a folder of its own below its ``tensorboard``.
      first_step: The step after which runs are resumed, 0 for new ones. What an earlier
        process has written of later steps is not shown any more.

    Raises:
      UserError: tensorboardX is not installed.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise UserError(
            "config.writers: TensorBoard's files are written with tensorboardX, which is "
            f"missing ({error}); install it: pip install -e '.[tensorboard]'"
        ) from error
    return EventFiles(workdir / FOLDER, first_step)


class EventFiles:
    """An event file for each run, in a folder of its own such as ``run_0_seed_0``.

    Files are opened for each record only: so there can be thousands, and what is written
    is there at once, also if the process is killed. The writer of tensorboardX keeps a
    thread for each file instead, and waits for the disk.
    """

    def __init__(self, folder: pathlib.Path, first_step: int):
        self._folder = folder
        self._first_step = first_step
        self._paths: dict[str, pathlib.Path] = {}  # by run
        # TensorBoard reads the files of a folder in the order of their names.
        self._name = f'events.out.tfevents.{time.time_ns()}.{os.getpid()}'

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes the numbers of a record; ``event`` is the group that they are shown in."""
        numbers = [
            {'tag': _tag(record, name), 'simple_value': value}
            for name, value in record.items()
            if name not in _ABOUT and isinstance(value, int | float)
        ]
        self._append(record, numbers)

    def write_figure(self, record: Mapping[str, Any], name: str, figure: Any) -> None:
        """Writes a Matplotlib figure."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format='png')
        png = buffer.getvalue()
        width, height = struct.unpack('>II', png[16:24])
        image = {'width': width, 'height': height, 'encoded_image_string': png}
        self._append(record, [{'tag': _tag(record, name), 'image': image}])

    def close(self) -> None:
        """Does nothing: everything has been written."""

    def _append(self, record: Mapping[str, Any], values: list[dict[str, Any]]) -> None:
        events: list[dict[str, Any]] = [
            {'step': record['step'], 'summary': {'value': values}}
        ]
        run = f'run_{record["run"]}_seed_{record["seed"]}'
        if run not in self._paths:
            self._paths[run] = self._folder / run / self._name
            self._paths[run].parent.mkdir(parents=True, exist_ok=True)
            # The start of a session hides all points from its step on in earlier files.
            start = {'step': self._first_step + 1, 'session_log': {'status': 'START'}}
            events = [{'file_version': 'brain.Event:2'}, start, *events]
        now = time.time()
        with self._paths[run].open('ab') as file:
            file.write(b''.join(_to_bytes({'wall_time': now, **of}) for of in events))


def _tag(record: Mapping[str, Any], name: str) -> str:
    return f'{record["event"]}/{name}' if 'event' in record else name


def _to_bytes(event: dict[str, Any]) -> bytes:
    """Frames an event: its length and itself, each followed by a checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    def with_checksum(part: bytes) -> bytes:
        return part + struct.pack('<I', masked_crc32c(part))

    data = Event(**event).SerializeToString()
    return with_checksum(struct.pack('<Q', len(data))) + with_checksum(data)
