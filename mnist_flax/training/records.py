"""Metrics while runs train: the lines of ``metrics.jsonl``, and ``config.writers``."""

import io
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import IO, Any

import ml_collections

from mnist_flax.checkpointing import workdirs
from mnist_flax.common import files, tables
from mnist_flax.common.constructors import construct_named, find_constructor
from mnist_flax.common.errors import UserError, explain, require
from mnist_flax.training.evaluators import Measured
from mnist_flax.training.metrics import Row
from mnist_flax.training.plan import RunPlan

FILE, FIGURES = 'metrics.jsonl', 'figures'
_WRITERS = 'mnist_flax.writers'


def check_writers(writers: ml_collections.ConfigDict) -> None:
    """Looks for the functions of ``config.writers``, which `Records` will call.

    Raises:
      UserError: There is no such function.
    """
    for name, settings in writers.items():
        find_constructor(settings, f'config.writers.{name}', _WRITERS)


class Records:
    """Writes records of runs side by side into a workdir.

    A record is a flat dictionary of one run: ``event`` (``'step'`` or ``'epoch'``), ``run``
    (its position, from 0), ``seed``, what the sweep varies, ``step``, ``epoch``, and
    numbers. Each is a line of ``metrics.jsonl``, which is written at once, and is handed to
    each of ``config.writers``.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        runs: Sequence[RunPlan],
        num_runs: int,
        writers: ml_collections.ConfigDict,
    ):
        self._path = folder / FILE
        self._folder = folder
        self._runs = runs
        self._num_runs = num_runs  # of the config
        self._settings = writers
        self._file: IO[str] | None = None
        self._writers: dict[str, Any] = {}
        self._have_worked: set[str] = set()

    def start(self, step: int) -> None:
        """Opens the file for runs that are trained on from a step.

        What an earlier process has written of later steps is removed.

        Raises:
          UserError: A writer cannot be made, or the workdir has been removed.
        """
        workdirs.check_lock(self._folder)
        self._remove_later(step)
        self._file = self._path.open('a')
        files.sync(self._folder)
        for name, settings in self._settings.items():
            path = f'config.writers.{name}'
            offered = {'workdir': self._folder, 'first_step': step}
            writer = construct_named(settings, path, _WRITERS, **offered)
            for method in ('write', 'close'):
                require(
                    callable(getattr(writer, method, None)),
                    f'{path}: what {settings.constructor} makes has no method {method}',
                )
            self._writers[name] = writer

    def close(self) -> None:
        """Closes the file and the writers."""
        if self._file:
            self._file.close()
        for name, writer in [*self._writers.items()]:
            self._call(name, writer.close)

    def write(
        self,
        event: str,
        step: int,
        epoch: int,
        rows: Sequence[Row],
        measured: Sequence[Measured],
    ) -> None:
        """Writes a record of each run.

        Args:
          event: ``'step'`` or ``'epoch'``.
          step: How many steps are done.
          epoch: The epoch, from 1.
          rows: The numbers of each run.
          measured: What evaluators found of each; numbers that are not in ``rows``, and
            figures, which are kept as PNG files.

        Raises:
          UserError: A writer fails, or the workdir has been removed.
        """
        workdirs.check_lock(self._folder)
        assert self._file is not None
        records = []
        for run, row, found in zip(self._runs, rows, measured, strict=True):
            about = {'event': event, 'run': run.position, 'seed': run.seed, **run.swept}
            records.append({**about, 'step': step, 'epoch': epoch, **row, **found.numbers})
        self._file.writelines(
            json.dumps(tables.to_finite(record)) + '\n' for record in records
        )
        self._file.flush()
        for name, writer in [*self._writers.items()]:
            for record in records:
                self._call(name, writer.write, record)
        for run, record, found in zip(self._runs, records, measured, strict=True):
            for name, figure in found.figures.items():
                self._write_figure(f'{name}_run_{run.position}_step_{step}', figure)
                for writer_name, writer in [*self._writers.items()]:
                    if hasattr(writer, 'write_figure'):
                        self._call(writer_name, writer.write_figure, record, name, figure)

    def sync(self) -> None:
        """Waits until the lines are on the disk, before a checkpoint that follows them."""
        assert self._file is not None
        os.fsync(self._file.fileno())

    def _write_figure(self, name: str, figure: Any) -> None:
        folder, buffer = self._folder / FIGURES, io.BytesIO()
        figure.savefig(buffer, format='png', dpi=120)
        files.make_folder(folder)
        contents = {folder / f'{name}.png': buffer.getvalue()}
        files.write_atomically(contents, alone=True)

    def _call(self, name: str, method: Any, *arguments: Any) -> None:
        try:
            method(*arguments)
            self._have_worked.add(name)
        except Exception as error:  # the code can be a user's
            message = f'config.writers.{name}: calling it fails ({explain(error)})'
            if name not in self._have_worked:
                raise UserError(message) from error
            # No training is worth losing for a network that is down.
            print(f'warning: {message}; it gets no more', file=sys.stderr, flush=True)
            self._writers.pop(name, None)

    def _remove_later(self, step: int) -> None:
        """Removes the records of these runs after a step, and what a crash has torn."""
        if not self._path.exists():
            return
        ours = {run.position for run in self._runs}
        kept, text = [], self._path.read_text()
        starts = [f'"run": {position},' for position in ours]
        if text.endswith('\n') and not any(start in text for start in starts):
            return
        for line in text.splitlines(keepends=True):
            try:
                record = json.loads(line)
                is_later = record['run'] in ours and record['step'] > step
                is_later |= record['run'] >= self._num_runs  # of another config
            except (KeyError, TypeError, ValueError):
                continue
            if not is_later and line.endswith('\n'):
                kept.append(line)
        if ''.join(kept) != text:
            files.write_atomically({self._path: ''.join(kept).encode()}, alone=True)
