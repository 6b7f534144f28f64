"""The results of a finished group: what a report needs of its runs, in a folder."""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from flax import traverse_util

from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError, require
from mnist_flax.training import histories
from mnist_flax.training.plan import Plan
from mnist_flax.training.results import Divergence, RunResult

FOLDER = 'result'

_EMPTY = traverse_util.empty_node


def save(
    folder: pathlib.Path, results: Sequence[RunResult], seconds: dict[str, float]
) -> None:
    """Saves the results of a group.

    Args:
      folder: That of the group.
      results: Of its runs.
      seconds: That they took, by name.

    Raises:
      UserError: They cannot be written.
    """
    variables = jax.tree.map(lambda *of: np.stack(of), *[run.variables for run in results])
    flat = traverse_util.flatten_dict(variables, keep_empty_nodes=True)
    paths = [path for path, of in flat.items() if of is not _EMPTY]
    arrays = {str(i): flat[path] for i, path in enumerate(paths)}
    rows = [run.rows for run in results]
    about = {
        'columns': (columns := histories.list_columns(rows)),
        'histories': histories.to_lists(rows, columns),
        'runs': [run.plan.position for run in results],
        'train_seconds': [run.train_seconds for run in results],
        'diverged': [run.diverged and [*run.diverged] for run in results],
        'changes': [*results[0].changes],
        'seconds': seconds,
        'paths': [[*path] for path in paths],  # of variables
        'empty': [[*path] for path, of in flat.items() if of is _EMPTY],
    }
    arrays['logits'] = np.stack([run.logits for run in results])
    checkpoints.write(folder / FOLDER, arrays, about)


def read(
    folder: pathlib.Path, plan: Plan, runs: range
) -> tuple[list[RunResult], dict[str, float]]:
    """Reads what `save` has written.

    Args:
      folder: That of the group.
      plan: The plan of its runs.
      runs: Their positions in it.

    Returns:
      The results, and the seconds.

    Raises:
      UserError: It is damaged, or of other runs.
    """
    saved = checkpoints.read(folder / FOLDER)
    about = saved.about
    expected = [plan.runs[position] for position in runs]
    try:
        rows = histories.read(about, saved.path, False, plan.dataset.validation_role)
        flat = {tuple(path): saved.arrays[str(i)] for i, path in enumerate(about['paths'])}
        flat |= {tuple(path): _EMPTY for path in about['empty']}
        variables = traverse_util.unflatten_dict(flat)
        results = [
            RunResult(
                plan=planned,
                model=plan.recipe.model,
                image_shape=plan.recipe.image_shape,
                matmul_precision=plan.settings.matmul_precision,
                rows=rows[i],
                logits=saved.arrays['logits'][i],
                variables=jax.tree.map(lambda leaf, i=i: leaf[i], variables),
                train_seconds=about['train_seconds'][i],
                diverged=Divergence(*of) if (of := about['diverged'][i]) else None,
                changes=tuple(about['changes']),
            )
            for i, planned in enumerate(expected)
        ]
        seconds = dict(about['seconds'])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f'--workdir: {saved.path} is not the result of a group ({error})'
        ) from error
    num_images = len(plan.dataset.test.labels)
    require(
        about['runs'] == [planned.position for planned in expected],
        f'--workdir: {saved.path} is of the runs {about["runs"]}, and not of those that '
        'its folder names; restore it from a copy, or use another folder',
    )
    require(
        all(len(run.logits) == num_images for run in results),
        f'--workdir: {saved.path} is of other test images; use the same data',
    )
    return results, seconds
