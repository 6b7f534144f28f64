"""The runs of a plan between two steps, kept in a workdir and brought back from there."""

import dataclasses
import io
import json
import pathlib
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mnist_flax import checkpoints, devices, run
from mnist_flax.checkpoints import Checkpoint, Series
from mnist_flax.checks import require
from mnist_flax.metrics import EpochMetrics, Totals
from mnist_flax.results import Divergence
from mnist_flax.run import TrainState
from mnist_flax.settings import Plan


@dataclasses.dataclass
class Snapshot:
    """Runs side by side: all that their training goes on from."""

    state: TrainState
    totals: Totals  # of the epoch's steps so far
    step: int  # how many steps are done, the same for all
    histories: list[list[EpochMetrics]]  # by run, as are the next
    diverged: list[Divergence | None]
    seconds: float  # of training


class Store:
    """Keeps snapshots of groups of runs, each group in a folder ``runs_FIRST-LAST``."""

    def __init__(self, folder: pathlib.Path, plan: Plan):
        self.newest: pathlib.Path | None = None  # snapshot of the last group
        self._folder = folder
        self._plan = plan
        self._series: Series | None = None  # of the group that is being trained

    def begun(self) -> list[range]:
        """Lists the groups that have snapshots, as positions in the plan, in order."""
        groups = []
        if _is_first_host() and self._folder.is_dir():
            for path in self._folder.iterdir():
                if match := re.fullmatch(r'runs_(\d+)-(\d+)', path.name):
                    groups.append([int(match[1]), int(match[2]) + 1])
        shared = json.loads(devices.share(json.dumps(sorted(groups)).encode()))
        # A folder is made a moment before the first snapshot, or by someone else.
        sound: list[range] = []
        for first, end in shared:
            if first == (sound[-1].stop if sound else 0) and first < end:
                sound.append(range(first, min(end, len(self._plan.runs))))
        return sound

    def restore(self, group: range, fresh: Snapshot, mesh: Mesh) -> Snapshot:
        """Brings back the newest sound snapshot of a group.

        Args:
          group: The runs.
          fresh: Their state before the first step, on the mesh.
          mesh: The devices.

        Returns:
          The snapshot, or ``fresh`` if there is none.

        Raises:
          UserError: All are damaged, or of another network, or longer than wanted.
        """
        checkpoint = self._find(group)
        if checkpoint is None:
            self.newest = None
            return fresh
        self.newest, about = checkpoint.path, checkpoint.about
        step = about['step']
        num_examples = len(self._plan.dataset.train.labels)
        per_epoch = run.steps_per_epoch(num_examples, self._plan.settings.batch_size)
        num_steps = self._plan.settings.num_epochs * per_epoch
        require(
            step <= num_steps,
            f'config.num_epochs: found {self._plan.settings.num_epochs}, which are '
            f'{num_steps} steps, where {checkpoint.path} is of step {step}; allowed: no '
            'less',
        )
        state, totals = _from_arrays(checkpoint, len(group), fresh, mesh)
        return Snapshot(
            state=state,
            totals=totals,
            step=step,
            histories=[
                [EpochMetrics(*row) for row in history] for history in about['histories']
            ],
            diverged=[found and Divergence(*found) for found in about['diverged']],
            seconds=about['seconds'],
        )

    def save(self, group: range, snapshot: Snapshot) -> pathlib.Path:
        """Begins to write a snapshot, which can be trained on meanwhile.

        Returns:
          Where to.

        Raises:
          UserError: It, or the one before, cannot be written.
        """
        path = self._path(group)
        arrays = _to_arrays(snapshot, len(group))
        if not _is_first_host():
            return path
        if self._series is None:
            self._series = Series(path, self._plan.checkpoint.keep)
        about = {
            'step': snapshot.step,
            'histories': snapshot.histories,
            'diverged': snapshot.diverged,
            'seconds': snapshot.seconds,
        }
        self.newest = self._series.save(snapshot.step, arrays, about)
        return self.newest

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

    def _find(self, group: range) -> Checkpoint | None:
        found = checkpoints.restore(self._path(group)) if _is_first_host() else None
        if jax.process_count() == 1:
            return found
        packed = devices.share(_pack(found) if found else b'')
        return _unpack(packed) if packed else None


def _is_first_host() -> bool:
    return jax.process_index() == 0


def _name_leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): leaf
        for path, leaf in leaves
    }


def _parts(snapshot: Snapshot) -> dict[str, Any]:
    # The hyperparameters come from the config, and a key is saved as its numbers.
    state = snapshot.state.replace(hyperparameters={})
    state = state.replace(key=jax.random.key_data(state.key))
    return {'state': state, 'totals': snapshot.totals}


def _to_arrays(snapshot: Snapshot, num_runs: int) -> dict[str, np.ndarray]:
    # Copied, as training goes on in the same memory while these are written.
    return {
        name: np.array(leaf)[:num_runs]
        for name, leaf in _name_leaves(_parts(snapshot)).items()
    }


def _from_arrays(
    checkpoint: Checkpoint, num_runs: int, fresh: Snapshot, mesh: Mesh
) -> tuple[TrainState, Totals]:
    parts = _parts(fresh)
    arrays = checkpoint.arrays
    rows = []
    for name, leaf in _name_leaves(parts).items():
        wanted = (num_runs, *leaf.shape[1:]), leaf.dtype
        found = (arrays[name].shape, arrays[name].dtype) if name in arrays else None
        require(
            found == wanted,
            f'--workdir: {checkpoint.path} has as {name} '
            + (f'{found[1]} numbers of shape {found[0]}' if found else 'nothing')
            + f'; allowed: {wanted[1]} numbers of shape {wanted[0]}, as in the network and '
            'the optimizer of this config',
        )
        # As in a fresh state, runs are repeated up to the common shape.
        rows.append(arrays[name][np.arange(len(leaf)) % num_runs])
    restored = jax.tree.unflatten(jax.tree.structure(parts), rows)
    restored = devices.split_runs(mesh, restored)
    state = restored['state'].replace(
        key=jax.random.wrap_key_data(restored['state'].key),
        hyperparameters=fresh.state.hyperparameters,
    )
    return state, restored['totals']


def _pack(checkpoint: Checkpoint) -> bytes:
    rest = json.dumps([str(checkpoint.path), checkpoint.about]).encode()
    arrays: dict[str, Any] = {**checkpoint.arrays, 'rest': np.frombuffer(rest, np.uint8)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _unpack(packed: bytes) -> Checkpoint:
    with np.load(io.BytesIO(packed), allow_pickle=False) as found:
        arrays = dict(found)
    path, about = json.loads(arrays.pop('rest').tobytes())
    return Checkpoint(pathlib.Path(path), arrays, about)
