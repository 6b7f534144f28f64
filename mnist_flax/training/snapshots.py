"""Snapshots of runs between two steps, saved in a workdir and restored from there."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import jax
import numpy as np
import typeguard
from jax.sharding import Mesh

from mnist_flax.checkpointing import checkpoints, earlier_runs, workdirs
from mnist_flax.checkpointing.checkpoints import Checkpoint, CheckpointManager
from mnist_flax.common import renamed
from mnist_flax.common.constructors import digest_sources
from mnist_flax.common.errors import UserError, require
from mnist_flax.training import devices, histories
from mnist_flax.training.metrics import Row, Totals, row_columns
from mnist_flax.training.plan import Plan, explain_fixed_length
from mnist_flax.training.results import Divergence
from mnist_flax.training.run import TrainState


@dataclasses.dataclass
class Snapshot:
    """Runs side by side: all that their training continues from."""

    state: TrainState
    totals: Totals  # of the epoch's steps so far
    step: int  # how many steps are done, the same for all
    histories: list[list[Row]]  # of each run
    diverged: list[Divergence | None]  # likewise
    seconds: float  # of training
    changes: list[str]  # of settings, which the user has allowed
    logged: list[dict[str, float]]  # of each run, the totals that were logged already


class SnapshotStore:
    """Saves snapshots of groups of runs, each group in a folder ``runs_FIRST-LAST``."""

    def __init__(self, folder: pathlib.Path, plan: Plan, config: dict[str, Any]):
        self.newest: pathlib.Path | None = None  # snapshot of the group in training
        self._folder = folder
        self._plan = plan
        self._config = config
        self._source = digest_sources(plan.recipe.functions) | plan.recipe.loss.digests
        self._manager: CheckpointManager | None = None
        self._first = plan.runs[0].position
        self._role = plan.dataset.validation_role

    def started(self) -> list[range]:
        """Lists the groups that have snapshots, as positions in the plan, in order."""
        found = []
        if _is_first_host() and self._folder.is_dir():
            for path in self._folder.iterdir():
                match = re.fullmatch(r'runs_(\d+)-(\d+)', path.name)
                # An empty one is of a process that was killed before it had saved any.
                if match and checkpoints.exist(path):
                    found.append([int(match[1]), int(match[2]) + 1])
        groups: list[range] = []
        for first, end in json.loads(devices.broadcast_text(json.dumps(sorted(found)))):
            # Others are of other programs of the sweep, or made by something else.
            first, end = first - self._first, end - self._first
            if (groups[-1].stop if groups else 0) <= first < end <= len(self._plan.runs):
                groups.append(range(first, end))
        return groups

    def restore(self, group: range, fresh: Snapshot, mesh: Mesh) -> Snapshot:
        """Restores the newest intact snapshot of a group.

        Args:
          group: The runs.
          fresh: Their state before the first step, on the mesh.
          mesh: The devices.

        Returns:
          The snapshot, or ``fresh`` if there is none.

        Raises:
          UserError: All are damaged, or it is of a run with other settings.
        """
        parts = _parts(fresh)
        rows = [  # which the first host replaces by those of the checkpoint
            np.zeros((len(group), *x.shape[1:]), x.dtype) for x in jax.tree.leaves(parts)
        ]
        found: dict[str, Any] = {'error': None, 'path': None}
        if _is_first_host():
            try:
                if checkpoint := checkpoints.restore(self._path(group)):
                    found['path'] = str(checkpoint.path)
                    found |= self._check(group, checkpoint)
                    is_whole = found['step'] % self._plan.steps_per_epoch == 0
                    rows = _read_rows(parts, len(group), checkpoint, is_whole)
            except UserError as error:
                found['error'] = str(error)
        found = json.loads(devices.broadcast_text(json.dumps(found)))
        if found['error']:
            raise UserError(found['error'])
        self.newest = found['path'] and pathlib.Path(found['path'])
        if self.newest is None:
            return fresh
        # As in a fresh state, runs are repeated up to the common shape.
        repeats = np.arange(len(fresh.state.step)) % len(group)
        rows = [array[repeats] for array in devices.broadcast_arrays(rows)]
        restored = jax.tree.unflatten(jax.tree.structure(parts), rows)
        restored = devices.split_runs(mesh, restored)
        return Snapshot(
            state=restored['state'].replace(
                key=jax.random.wrap_key_data(restored['state'].key),
                hyperparams=fresh.state.hyperparams,
            ),
            totals=restored['totals'],
            step=found['step'],
            histories=found['histories'],
            diverged=[where and Divergence(*where) for where in found['diverged']],
            seconds=found['seconds'],
            changes=found['changes'],
            logged=found['logged'],
        )

    def save(self, group: range, snapshot: Snapshot) -> None:
        """Starts to write a snapshot, unless all of its runs have diverged.

        Training can continue meanwhile.

        Raises:
          UserError: The one before cannot be written, or the workdir is another one.
        """
        workdirs.check_lock(self._path(group))
        # Copied, as training overwrites this memory while the copies are written.
        arrays = {
            name: np.array(devices.fetch(leaf))[: len(group)]
            for name, leaf in _name_leaves(_parts(snapshot)).items()
        }
        if not _is_first_host() or not any(_are_finite(arrays, snapshot)):
            return
        if self._manager is None:
            self._manager = CheckpointManager(self._path(group), self._plan.checkpoint.keep)
        about = {
            'config': self._config,
            'source': self._source,
            'step': snapshot.step,
            'columns': (columns := histories.list_columns(snapshot.histories)),
            'histories': histories.to_lists(snapshot.histories, columns),
            'diverged': list(snapshot.diverged),
            'seconds': snapshot.seconds,
            'changes': snapshot.changes,
            'logged': [dict(of) for of in snapshot.logged],  # changed while it is written
            'runs': self._describe_runs(group),
        }
        self.newest = self._manager.save(snapshot.step, arrays, about)

    def finish(self) -> None:
        """Waits until the snapshots of a group are written; another group can follow.

        Raises:
          UserError: The last one cannot be written.
        """
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.close()

    def _describe_runs(self, group: range) -> list[Any]:
        runs = [self._plan.runs[position] for position in group]
        return json.loads(json.dumps([[run.seed, run.swept] for run in runs]))

    def _path(self, group: range) -> pathlib.Path:
        first, last = group[0] + self._first, group[-1] + self._first
        return self._folder / f'runs_{first}-{last}'

    def _check(self, group: range, checkpoint: Checkpoint) -> dict[str, Any]:
        """Checks that a group can be resumed, and returns what is known about it."""
        path = checkpoint.path
        # Earlier versions did not name the columns, nor any after the test set.
        first: dict[str, Any] = {
            'columns': row_columns('validation'), 'logged': [{} for _ in group]
        }  # fmt: skip
        about = first | checkpoint.about
        about = {name: about[name] for name in _About.__annotations__ if name in about}
        try:
            typeguard.check_type(about, _About, collection_check_strategy=_ALL)
        except typeguard.TypeCheckError as error:
            raise UserError(
                f'--workdir: {path} is not a checkpoint of this program ({error})'
            ) from error
        step, num_runs = about['step'], len(about['histories'])
        theirs, ours = about.get('runs'), self._describe_runs(group)
        require(
            theirs is None or theirs == ours,
            f'--workdir: {path} holds the runs {theirs}, and not {ours}; use the program '
            'and the functions with which it was started, or another --workdir',
        )
        require(
            num_runs == len(about['diverged']) == len(group),
            f'--workdir: {path} holds {num_runs} runs, but its folder is named after '
            f'{len(group)}',
        )
        # Another one would be trained on from there, with the batches of that step.
        counted = renamed.upgrade_arrays(checkpoint.arrays).get('state.step', [])
        require(
            str(step) == path.name and np.array_equal(counted, [step] * num_runs),
            f'--workdir: {path} says that it is of step {step}, and its runs of {counted}; '
            'it was altered, so restore it from a copy or use another --workdir',
        )
        source = about.get('source', {})
        source = {name: source.get(name, of) for name, of in self._source.items()}
        changes = earlier_runs.find_changes(
            path,
            self._config | {'source': self._source},
            about['config'] | {'source': source},
            self._plan.checkpoint.allow_changes,
            lambda: explain_fixed_length(self._plan),
        )
        require(
            step <= self._plan.num_steps,
            f'config.num_epochs: {self._plan.settings.num_epochs} epochs are '
            f'{self._plan.num_steps} steps, but {path} is of step {step}; use more epochs',
        )
        require(
            not changes or step < self._plan.num_steps,
            f'config.checkpoint.allow_changes: {path} has no step left that the changes '
            f'({", ".join(changes)}) could apply to; use the same settings, or another '
            '--workdir',
        )
        listed = [f'{change} after step {step}' for change in changes]
        return {
            **about,
            'histories': histories.read(
                about, path, 'logged' not in checkpoint.about, self._role
            ),
            'changes': about['changes'] + listed,
        }


class _About(TypedDict):
    """The plain values of a checkpoint, as in `Snapshot`."""

    config: dict[str, Any]
    step: int
    columns: Sequence[str]
    histories: list[list[list[float | None]]]
    diverged: list[list[float] | None]
    seconds: float
    changes: list[str]
    logged: list[dict[str, float]]
    runs: NotRequired[list[Any]]
    # Digests of a user's files, by module, and of what else the loss has, by argument.
    source: NotRequired[dict[str, str]]


# What is finite unless a run diverges. The model's other collections may hold constants
# that are not, such as the mask of an attention, and a user's metrics may be anything.
_FINITE = (
    'state.params.', 'state.opt_state.', 'state.model_state.batch_stats.',
    'state.ema.params.', 'state.ema.batch_stats.', 'totals.loss',
)  # fmt: skip

_ALL = typeguard.CollectionCheckStrategy.ALL_ITEMS


def _is_first_host() -> bool:
    return jax.process_index() == 0


def _parts(snapshot: Snapshot) -> dict[str, Any]:
    # The hyperparams come from the config. A key is saved as the numbers it consists of.
    state = snapshot.state.replace(hyperparams={})
    state = state.replace(key=jax.random.key_data(state.key))
    return {'state': state, 'totals': snapshot.totals}


def _name_leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): leaf
        for path, leaf in leaves
    }


def _read_rows(
    parts: Any, num_runs: int, checkpoint: Checkpoint, is_whole: bool
) -> list[np.ndarray]:
    """Reads the arrays of a snapshot, for the leaves of ``parts``.

    After a whole epoch, what is summed up in the next one may be new in the config.
    """
    arrays = renamed.upgrade_arrays(checkpoint.arrays)
    rows = []
    for name, leaf in _name_leaves(parts).items():
        array = arrays.get(name)
        if array is None and is_whole and name.startswith('totals.'):
            array = np.zeros((num_runs, *leaf.shape[1:]), leaf.dtype)
        found = _describe(array) if isinstance(array, np.ndarray) else 'nothing'
        wanted = _describe(np.empty((num_runs, *leaf.shape[1:]), leaf.dtype))
        require(
            found == wanted,
            f'--workdir: {checkpoint.path} has {found} for {name}, but this config has '
            f'{wanted}; its model and optimizer must stay the same, and within an epoch '
            'config.metrics and config.log_every_steps too',
        )
        rows.append(np.asarray(array))
    return rows


def _describe(array: np.ndarray) -> str:
    return f'{array.dtype} numbers of shape {array.shape}'


def _are_finite(arrays: dict[str, np.ndarray], snapshot: Snapshot) -> list[bool]:
    """Tells for each run whether all numbers are finite that must be."""
    checked = [array for name, array in arrays.items() if name.startswith(_FINITE)]
    return [
        where is None and all(np.isfinite(array[i]).all() for array in checked)
        for i, where in enumerate(snapshot.diverged)
    ]
