"""The runs of a plan between two steps, kept in a workdir and brought back from there."""

import dataclasses
import json
import pathlib
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.training import devices, run
from mnist_flax.checkpointing.checkpoints import Checkpoint, Series
from mnist_flax.common.errors import UserError, require
from mnist_flax.training.metrics import EpochMetrics, Totals
from mnist_flax.training.results import Divergence
from mnist_flax.training.run import TrainState
from mnist_flax.training.plan import Plan


@dataclasses.dataclass
class Snapshot:
    """Runs side by side: all that their training goes on from."""

    state: TrainState
    totals: Totals  # of the epoch's steps so far
    step: int  # how many steps are done, the same for all
    histories: list[list[EpochMetrics]]  # by run, as are the next
    diverged: list[Divergence | None]
    seconds: float  # of training
    changes: list[str]  # of settings, that the user has allowed


class Store:
    """Keeps snapshots of groups of runs, each group in a folder ``runs_FIRST-LAST``."""

    def __init__(self, folder: pathlib.Path, plan: Plan, config: dict[str, Any]):
        self.newest: pathlib.Path | None = None  # snapshot of the group that is trained
        self._folder = folder
        self._plan = plan
        self._config = config
        self._series: Series | None = None
        num_examples = len(plan.dataset.train.labels)
        per_epoch = run.steps_per_epoch(num_examples, plan.settings.batch_size)
        self._num_steps = plan.settings.num_epochs * per_epoch

    def begun(self) -> list[range]:
        """Lists the groups that have snapshots, as positions in the plan, in order."""
        found = []
        if _is_first_host() and self._folder.is_dir():
            for path in self._folder.iterdir():
                if match := re.fullmatch(r'runs_(\d+)-(\d+)', path.name):
                    found.append([int(match[1]), int(match[2]) + 1])
        groups: list[range] = []
        for first, end in json.loads(devices.share(json.dumps(sorted(found)))):
            # Not someone else's folder, which could be about any runs.
            if (groups[-1].stop if groups else 0) <= first < end <= len(self._plan.runs):
                groups.append(range(first, end))
        return groups

    def restore(self, group: range, fresh: Snapshot, mesh: Mesh) -> Snapshot:
        """Brings back the newest sound snapshot of a group.

        Args:
          group: The runs.
          fresh: Their state before the first step, on the mesh.
          mesh: The devices.

        Returns:
          The snapshot, or ``fresh`` if there is none.

        Raises:
          UserError: All are damaged, or of a run with other settings.
        """
        parts = _parts(fresh)
        rows = [
            np.zeros((len(group), *x.shape[1:]), x.dtype) for x in jax.tree.leaves(parts)
        ]
        found: dict[str, Any] = {'error': None, 'path': None}
        if _is_first_host():
            try:
                if checkpoint := checkpoints.restore(self._path(group)):
                    found['path'] = str(checkpoint.path)
                    found |= self._check(group, checkpoint)
                    rows = _read_rows(parts, len(group), checkpoint)
            except UserError as error:
                found['error'] = str(error)
        found = json.loads(devices.share(json.dumps(found)))
        if found['error']:
            raise UserError(found['error'])
        self.newest = found['path'] and pathlib.Path(found['path'])
        if self.newest is None:
            return fresh
        # As in a fresh state, runs are repeated up to the common shape.
        repeats = np.arange(len(fresh.state.step)) % len(group)
        rows = [array[repeats] for array in devices.share_arrays(rows)]
        restored = jax.tree.unflatten(jax.tree.structure(parts), rows)
        restored = devices.split_runs(mesh, restored)
        return Snapshot(
            state=restored['state'].replace(
                key=jax.random.wrap_key_data(restored['state'].key),
                hyperparameters=fresh.state.hyperparameters,
            ),
            totals=restored['totals'],
            step=found['step'],
            histories=[[EpochMetrics(*row) for row in rows] for rows in found['histories']],
            diverged=[where and Divergence(*where) for where in found['diverged']],
            seconds=found['seconds'],
            changes=found['changes'],
        )

    def save(self, group: range, snapshot: Snapshot) -> None:
        """Begins to write a snapshot, unless none of its runs is well.

        They can be trained on meanwhile.

        Raises:
          UserError: The one before cannot be written.
        """
        # Copied, as training goes on in the same memory while these are written.
        arrays = {
            name: np.array(leaf)[: len(group)]
            for name, leaf in _name_leaves(_parts(snapshot)).items()
        }
        if not _is_first_host() or not any(_are_well(arrays, snapshot)):
            return
        if self._series is None:
            self._series = Series(self._path(group), self._plan.checkpoint.keep)
        about = {
            'config': self._config,
            'step': snapshot.step,
            'histories': [list(history) for history in snapshot.histories],
            'diverged': list(snapshot.diverged),
            'seconds': snapshot.seconds,
            'changes': snapshot.changes,
        }
        self.newest = self._series.save(snapshot.step, arrays, about)

    def finish(self) -> None:
        """Waits until the snapshots of a group are written; another can follow.

        Raises:
          UserError: The last one cannot be written.
        """
        if self._series is not None:
            self._series.close()
        self._series = None

    def _path(self, group: range) -> pathlib.Path:
        return self._folder / f'runs_{group[0]}-{group[-1]}'

    def _check(self, group: range, checkpoint: Checkpoint) -> dict[str, Any]:
        """Sees whether a group can go on, and returns what is known about it."""
        path, about = checkpoint.path, checkpoint.about
        try:
            step, config = int(about['step']), about['config']
            lists = [about[name] for name in ('histories', 'diverged', 'changes')]
            shapes = [len(row) for history in lists[0] for row in history]
            sound = {*shapes} <= {len(EpochMetrics._fields)}
            sound &= len(lists[0]) == len(lists[1]) == len(group)
            sound &= isinstance(config, dict)
            float(about['seconds'])
        except (KeyError, TypeError, ValueError):
            sound = False
        require(sound, f'--workdir: {path} is no checkpoint of this program')
        changes = workdirs.find_changes(path, self._config, config, self._plan)
        require(
            step <= self._num_steps,
            f'config.num_epochs: found {self._plan.settings.num_epochs}, which are '
            f'{self._num_steps} steps, where {path} is of step {step}; allowed: no less',
        )
        require(
            not changes or step < self._num_steps,
            f'config.checkpoint.allow_changes: found other values ({", ".join(changes)}) '
            f'where {path} has all its steps; allowed: the same, or another --workdir',
        )
        listed = [f'{change} after step {step}' for change in changes]
        return {**about, 'changes': about['changes'] + listed}


def _is_first_host() -> bool:
    return jax.process_index() == 0


def _parts(snapshot: Snapshot) -> dict[str, Any]:
    # The hyperparameters come from the config, and a key is saved as its numbers.
    state = snapshot.state.replace(hyperparameters={})
    state = state.replace(key=jax.random.key_data(state.key))
    return {'state': state, 'totals': snapshot.totals}


def _name_leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): leaf
        for path, leaf in leaves
    }


def _read_rows(parts: Any, num_runs: int, checkpoint: Checkpoint) -> list[np.ndarray]:
    rows = []
    for name, leaf in _name_leaves(parts).items():
        array = checkpoint.arrays.get(name)
        found = _describe(array) if isinstance(array, np.ndarray) else 'nothing'
        wanted = _describe(np.empty((num_runs, *leaf.shape[1:]), leaf.dtype))
        require(
            found == wanted,
            f'--workdir: {checkpoint.path} has as {name} {found}; allowed: {wanted}, as in '
            'the network and the optimizer of this config',
        )
        rows.append(np.asarray(array))
    return rows


def _describe(array: np.ndarray) -> str:
    return f'{array.dtype} numbers of shape {array.shape}'


def _are_well(arrays: dict[str, np.ndarray], snapshot: Snapshot) -> list[bool]:
    """Tells of each run whether no number is infinite, or not a number."""
    return [
        where is None and all(np.isfinite(array[i]).all() for array in arrays.values())
        for i, where in enumerate(snapshot.diverged)
    ]
