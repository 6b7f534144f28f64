"""What else is measured while runs train: the functions of ``config.evaluators``."""

import dataclasses
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from mnist_flax.common.constructors import construct, find_constructor, select
from mnist_flax.common.errors import UserError, explain, locate, require
from mnist_flax.data.datasets import Dataset, check_images
from mnist_flax.recipe.objective import LOGGED
from mnist_flax.training import devices, population
from mnist_flax.training.groups import Group
from mnist_flax.training.plan import Plan
from mnist_flax.training.run import TrainState
from mnist_flax.training.settings import Settings

# In messages of `mnist_flax.evaluators`: the path of whichever has failed.
_ANY_NAME = 'config.evaluators.*'
_HOME = 'mnist_flax.evaluators'

# What else has a name in a run's records, or in the report of several or of a sweep.
_TAKEN = {
    'event', 'run', 'seed', 'step', 'epoch', 'learning_rate', 'images_per_second',
    *(of.name for of in LOGGED),
    *(of.name for of in dataclasses.fields(Settings)),
    'seeds', 'num_runs', 'num_diverged', 'diverged_in_epoch', 'mean', 'ensemble',
    'chosen', 'points', 'changed_settings', 'overlaps', 'num_parameters', 'validation',
    'compile_seconds', 'restored_seconds', 'total_seconds', 'device', 'num_devices',
    'versions',
}  # fmt: skip
_TAKEN_PREFIXES = ('train_', 'test_', 'validation_')

_MOST_KNOWN = 8  # of the arrays whose logits are kept while evaluators are called


class Evaluator(NamedTuple):
    """A function that measures a run, and how often."""

    name: str  # in the config; columns are called after it
    function: Callable[..., Mapping[str, Any]]
    every_epochs: int  # one of these is 0
    every_steps: int

    def is_due(self, step: int, epoch: int, is_last: bool) -> bool:
        """Tells whether to measure after an epoch; after the last one it always is."""
        if self.every_steps:
            return step % self.every_steps == 0 or is_last
        return epoch % self.every_epochs == 0 or is_last


class Measured(NamedTuple):
    """What evaluators found of a run."""

    numbers: dict[str, float]  # by column
    figures: dict[str, Any]  # Matplotlib's, by name


def create_evaluators(
    settings: ml_collections.ConfigDict, dataset: Dataset
) -> list[Evaluator]:
    """Makes the evaluators of ``config.evaluators``.

    Args:
      settings: For each name a ``constructor``, ``every_epochs`` or ``every_steps``, and
        arguments of the constructor, which gets ``dataset`` too if it names it. It returns
        the function that measures, see `measure`.
      dataset: The data of the runs.

    Raises:
      UserError: There is no such constructor, or a field makes no sense.
    """
    evaluators = []
    for name, subtree in settings.items():
        path = f'config.evaluators.{name}'
        constructor, fields = find_constructor(subtree, path, home=_HOME)
        every = {of: fields.pop(of, 0) for of in ('every_epochs', 'every_steps')}
        for of, number in every.items():
            require(
                type(number) is int and number >= 0,
                f'{path}.{of}: found {number!r}; allowed: 0 or more',
            )
        require(
            not all(every.values()),
            f'{path}: it has both every_epochs and every_steps; give one of them',
        )
        require(
            'predict' not in inspect.signature(constructor).parameters,
            f'{path}: {locate(constructor)} takes predict itself; it must return the '
            'function that does',
        )
        if not any(every.values()):
            every['every_epochs'] = 1
        try:
            function = construct(constructor, fields, path, dataset=dataset)
        except UserError as error:  # ours do not know the name that they have here
            raise UserError(str(error).replace(_ANY_NAME, path)) from error
        require(
            callable(function),
            f'{path}: {locate(constructor)} returns {function!r}; it must return a '
            'function that measures a run',
        )
        evaluators.append(Evaluator(name, function, **every))
    return evaluators


def measure(
    evaluators: Sequence[Evaluator], plan: Plan, group: Group, state: TrainState, step: int
) -> list[Measured]:
    """Calls evaluators for each run of a group by itself.

    A function gets by name those of these arguments that it has: ``predict``, from images
    (uint8) to the run's logits; ``variables``, its parameters and other collections;
    ``epoch``, the number of the epoch, and ``step``, of steps done; ``seed``. It returns
    numbers, or Matplotlib's figures, by name.

    Args:
      evaluators: Those to call.
      plan: The runs.
      group: Those side by side.
      state: Their state.
      step: How many steps are done.

    Returns:
      For each run what was found; the columns are ``<evaluator>_<name>``.

    Raises:
      UserError: An evaluator fails, or returns something else.
    """
    if not evaluators:
        return [Measured({}, {}) for _ in group.runs]
    known: dict[tuple[int, bytes], np.ndarray] = {}  # logits by run, of the last images

    def predict_all(images: Any) -> np.ndarray:
        images = check_images(images, plan.dataset.train.images.shape[1:])
        key = len(images), hashlib.blake2b(np.ascontiguousarray(images).data).digest()
        if key not in known:
            while len(known) >= _MOST_KNOWN:
                del known[next(iter(known))]
            placed = devices.replicate(group.mesh, images)
            found = population.predict_logits(group.mesh, plan.recipe, state, placed)
            known[key] = np.asarray(devices.fetch(found))
        return known[key]

    functions = [evaluator.function for evaluator in evaluators]
    everything: dict[str, Any] = {}
    if any(select(function, {'variables': None}) for function in functions):
        everything = population.eval_variables(group.mesh, plan.recipe, state)
        if jax.process_count() > 1:  # this one may not have the run
            everything = devices.fetch(everything)
    epoch = math.ceil(step / plan.steps_per_epoch)
    measured = []
    for i, position in enumerate(group.runs):
        offered = {
            'predict': lambda images, i=i: predict_all(images)[i],
            'variables': jax.tree.map(lambda leaf, i=i: leaf[i], everything),
            'epoch': epoch,
            'step': step,
            'seed': plan.runs[position].seed,
        }
        measured.append(_call(evaluators, offered))
        require(
            measured[-1].numbers.keys() == measured[0].numbers.keys(),
            f'config.evaluators: the numbers of seed {plan.runs[position].seed} are '
            f'{[*measured[-1].numbers]}, those of another run {[*measured[0].numbers]}; '
            'give the same for all',
        )
    return measured


def is_taken(column: str) -> bool:
    """Tells whether a report has something else of this name."""
    return column in _TAKEN or column.startswith(_TAKEN_PREFIXES)


def _call(evaluators: Sequence[Evaluator], offered: Mapping[str, Any]) -> Measured:
    numbers: dict[str, float] = {}
    figures: dict[str, Any] = {}
    for evaluator in evaluators:
        path = f'config.evaluators.{evaluator.name}'
        try:
            found = evaluator.function(**select(evaluator.function, offered))
        except UserError:
            raise
        except Exception as error:  # the code is a user's
            raise UserError(f'{path}: calling it fails ({explain(error)})') from error
        if not isinstance(found, Mapping):
            found = {'': found}
        for key, value in found.items():
            column = evaluator.name if key == '' else f'{evaluator.name}_{key}'
            require(
                not is_taken(column) and column not in numbers and column not in figures,
                f'{path}: {column!r} is taken, as are all names that begin with '
                f'{", ".join(_TAKEN_PREFIXES)}; choose another name',
            )
            if hasattr(value, 'savefig'):
                figures[column] = value
                continue
            try:
                numbers[column] = float(value)
            except (TypeError, ValueError) as error:
                raise UserError(
                    f'{path}: {locate(evaluator.function)} returns {value!r} for {key!r}; '
                    'it must return numbers or figures, by name'
                ) from error
    return Measured(numbers, figures)
