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
    arrays = {
        f'variables.{name}': of
        for name, of in traverse_util.flatten_dict(variables, sep='.').items()
    }
    rows = [run.rows for run in results]
    about = {
        'columns': (columns := histories.list_columns(rows)),
        'histories': histories.to_lists(rows, columns),
        'runs': [run.plan.position for run in results],
        'train_seconds': [run.train_seconds for run in results],
        'diverged': [run.diverged and [*run.diverged] for run in results],
        'changes': [*results[0].changes],
        'seconds': seconds,
    }
    arrays['logits'] = np.stack([run.logits for run in results])
    checkpoints.write(folder / FOLDER, arrays, about)


def read(folder: pathlib.Path, plan: Plan) -> tuple[list[RunResult], dict[str, float]]:
    """Reads what `save` has written.

    Args:
      folder: That of the group.
      plan: The plan of its runs.

    Returns:
      The results, and the seconds.

    Raises:
      UserError: It is damaged, or of other runs.
    """
    saved = checkpoints.read(folder / FOLDER)
    about = saved.about
    first = plan.runs[0].position
    try:
        rows = histories.read(about, saved.path, False, plan.dataset.validation_role)
        of_variables = {
            name.removeprefix('variables.'): array
            for name, array in saved.arrays.items()
            if name.startswith('variables.')
        }
        variables = traverse_util.unflatten_dict(of_variables, sep='.')
        results = [
            RunResult(
                plan=plan.runs[position - first],
                model=plan.recipe.model,
                image_shape=plan.recipe.image_shape,
                rows=rows[i],
                logits=saved.arrays['logits'][i],
                variables=jax.tree.map(lambda leaf, i=i: leaf[i], variables),
                train_seconds=about['train_seconds'][i],
                diverged=Divergence(*of) if (of := about['diverged'][i]) else None,
                changes=tuple(about['changes']),
            )
            for i, position in enumerate(about['runs'])
        ]
        seconds = dict(about['seconds'])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f'--workdir: {saved.path} is not the result of a group ({error})'
        ) from error
    num_images = len(plan.dataset.test.labels)
    require(
        all(len(run.logits) == num_images for run in results),
        f'--workdir: {saved.path} is of other test images; use the same data',
    )
    return results, seconds
