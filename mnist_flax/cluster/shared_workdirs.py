"""A workdir that several processes work in, each on groups of runs of its own."""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from mnist_flax.checkpointing import earlier_runs, workdirs
from mnist_flax.common import files
from mnist_flax.common.errors import UserError, require
from mnist_flax.training import snapshots
from mnist_flax.training.plan import Plan
from mnist_flax.training.records import FIGURES, FILE

_TENSORBOARD = 'tensorboard'


class SharedWorkdir:
    """What processes have agreed on in a workdir: the settings, and groups of runs.

    Whoever comes first writes it down; the others read it. Groups are those of the first
    machine, so that they do not depend on how many processes there are.
    """

    def __init__(self, workdir: str, settings: dict[str, Any]):
        """Opens it.

        Raises:
          UserError: Files cannot be written there, or others work on other settings.
        """
        self.folder = workdirs.prepare(workdir)
        self._checkpoints = self.folder / workdirs.CHECKPOINTS
        theirs = self._agree(snapshots.SHARED, settings)
        differing = earlier_runs.find_differences(settings, theirs)
        require(
            not differing,
            f'--workdir: others work in {self.folder} with other settings '
            f'({", ".join(differing)}); use the same command, or another folder',
        )

    def list_groups(self, plan: Plan, ours: Sequence[range] | None) -> list[range]:
        """Lists the groups of a plan, as positions in it.

        Args:
          plan: The plan.
          ours: What to propose; None to propose nothing.

        Returns:
          What has been agreed on; empty if nothing has.

        Raises:
          UserError: It cannot be read, or is of other runs.
        """
        name = f'groups_from_{plan.runs[0].position}.json'
        if ours is None and not (self._checkpoints / name).exists():
            return []
        pairs = [[group.start, group.stop] for group in ours or ()]
        try:
            groups = [range(*pair) for pair in self._agree(name, pairs)]
            runs = [position for group in groups for position in group]
        except (TypeError, ValueError):
            runs = []
        require(
            runs == [*range(len(plan.runs))],
            f'--workdir: {self._checkpoints / name} does not say how {len(plan.runs)} runs '
            'are divided into groups; use another folder',
        )
        return groups

    def collect_records(self) -> None:
        """Brings together what was recorded of each group while it was trained.

        In the order of the runs, as a single process would have written it.
        """
        path = self.folder / FILE
        texts, covered = [], set()
        for group in snapshots.list_groups(self._checkpoints):
            lines = _read_lines(group / FILE)
            covered |= {run for run, _ in lines}
            texts += [line for _, line in lines]
            for name in (FIGURES, _TENSORBOARD):
                for found in (group / name).glob('*'):
                    files.make_folder(self.folder / name)
                    shutil.move(found, self.folder / name / found.name)
        others = [line for run, line in _read_lines(path) if run not in covered]
        workdirs.write(self.folder, {FILE: ''.join(others + texts).encode()})

    def _agree(self, name: str, ours: Any) -> Any:
        """Returns what a file says, after writing it if it is not there."""
        path = self._checkpoints / name
        try:
            files.write_first(path, json.dumps(ours).encode())
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f'--workdir: cannot read or write {path} ({error})') from error


def _read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """Reads records, each with the number of its run."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines(keepends=True):
            with contextlib.suppress(KeyError, TypeError, ValueError):  # a torn one
                found.append((json.loads(line)['run'], line))
    return found
