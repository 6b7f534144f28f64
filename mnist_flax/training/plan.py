"""A config to the runs that it asks for: what they share, and the numbers of each."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import ml_collections
from jax.sharding import Mesh

from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.constructors import construct, construct_named
from mnist_flax.common.errors import UserError, require
from mnist_flax.data import augment, datasets
from mnist_flax.training import check_model, devices, optimizers, run, sweeps
from mnist_flax.training.sweeps import SWEPT, Sweep

# Each leaves 1 MB of logits and parameters in memory to report on.
_MOST_RUNS = 10_000

# The parts of a config that a recipe is made from.
_RECIPE = ('model', 'optimizer', 'augment', 'ema_decay')

# A step is counted in 32 bits.
_MOST_STEPS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """The fields of a config; those that are subtrees have constructors of their own."""

    seed: int
    runs: int
    runs_at_once: int
    num_epochs: int
    batch_size: int
    num_devices: int
    matmul_precision: Literal['float32', 'tensorfloat32']
    label_smoothing: float
    ema_decay: float
    dataset: ml_collections.ConfigDict
    model: ml_collections.ConfigDict
    optimizer: ml_collections.ConfigDict
    augment: ml_collections.ConfigDict
    sweep: ml_collections.ConfigDict
    checkpoint: ml_collections.ConfigDict

    def __post_init__(self) -> None:
        for name, low, high in (
            ('seed', 0, 2**32 - 1),
            ('runs', 1, _MOST_RUNS),
            ('runs_at_once', 0, None),
            ('num_epochs', 1, None),
            ('batch_size', 1, None),
        ):
            value = getattr(self, name)
            require(
                low <= value and (high is None or value <= high),
                f'config.{name}: found {value}; allowed: {low} '
                + ('or more' if high is None else f'to {high}'),
            )
        for name in ('label_smoothing', 'ema_decay'):
            value = getattr(self, name)
            require(
                0 <= value < 1, f'config.{name}: found {value}; allowed: 0 to less than 1'
            )
        require(
            self.seed + self.runs <= 2**32,
            f'config.runs: found {self.runs} from seed {self.seed} on; allowed: seeds up '
            f'to {2**32 - 1}',
        )


class RunPlan(NamedTuple):
    """What sets a run apart from the others of its population."""

    seed: int
    swept: dict[str, float]  # what `config.sweep` varies, by name
    hyperparams: dict[str, float]  # as in `run.TrainState`


class Plan(NamedTuple):
    """The runs that a config asks for, seed by seed for each combination of the sweep."""

    settings: Settings
    mesh: Mesh  # for as many runs at once as are wanted
    dataset: datasets.Dataset
    recipe: run.Recipe
    runs: list[RunPlan]
    checkpoint: checkpoints.Options


def make_plan(
    config: ml_collections.ConfigDict,
    dataset: datasets.Dataset | None = None,
    seeds: Sequence[int] | None = None,
) -> Plan:
    """Checks a config, claims the devices and loads the data.

    Args:
      config: The settings, such as those of ``configs/default.py``.
      dataset: Its data, if they have been loaded before.
      seeds: The seeds, if not those of ``config.seed`` and ``config.runs``.

    Returns:
      All that is needed to train.

    Raises:
      UserError: The config, the devices or the data are not usable.
    """
    settings = construct(Settings, config, 'config')
    to_tree(config)  # rather now than when the report is written
    if seeds is None:
        seeds = range(settings.seed, settings.seed + settings.runs)
    options = construct(checkpoints.Options, settings.checkpoint, 'config.checkpoint')
    sweep = construct(Sweep, settings.sweep, 'config.sweep')
    num_runs = sweep.num_points * len(seeds)
    require(
        num_runs <= _MOST_RUNS,
        f'config.sweep: found {num_runs} runs, {sweep.num_points} combinations with '
        f'{len(seeds)} seeds; allowed: up to {_MOST_RUNS}',
    )
    grid = sweep.grid()
    mesh = devices.make_mesh(
        settings.num_devices,
        settings.batch_size,
        num_runs=min(settings.runs_at_once or num_runs, num_runs),
    )
    if dataset is None:
        dataset = construct(datasets.load, settings.dataset, 'config.dataset')
    num_examples = len(dataset.train.labels)
    require(
        settings.batch_size <= num_examples,
        f'config.batch_size: found {settings.batch_size}; allowed: 1 to {num_examples}, '
        'the number of training examples',
    )
    most_epochs = _MOST_STEPS // run.steps_per_epoch(num_examples, settings.batch_size)
    require(
        settings.num_epochs <= most_epochs,
        f'config.num_epochs: found {settings.num_epochs}; allowed: 1 to {most_epochs}, so '
        'that steps can be counted',
    )
    points = [(swept, sweeps.apply(config, swept)) for swept in grid]
    recipe, *others = [_create_recipe(point, num_examples) for _, point in points]
    hyperparams = [sweeps.read_hyperparams(point) for _, point in points]
    # What is 0 in all runs is left out of the program; the default has the rate alone.
    used = [name for name in SWEPT if any(point[name] for point in hyperparams)]
    if recipe.augment is None and 'augment_strength' in used:
        used.remove('augment_strength')
        require(
            not settings.sweep.augment_strength,
            'config.sweep.augment_strength: there is no augmentation to sweep over; set an '
            'amount of config.augment, such as config.augment.shift=2',
        )
    check_model.check_recipe(recipe, used, dataset, devices.memory_per_device(mesh))
    if sweep.dropout_rate:
        check_model.check_dropout_is_traced([recipe, *others], used)
    return Plan(
        settings,
        mesh,
        dataset,
        recipe,
        [
            RunPlan(seed, swept, {name: point[name] for name in used})
            for (swept, _), point in zip(points, hyperparams, strict=True)
            for seed in seeds
        ],
        options,
    )


def explain_fixed_length(plan: Plan) -> str:
    """Says why another number of epochs would be another run from its first step on.

    Empty if it would not be: with a constant learning rate a run can be extended.
    """
    if not plan.recipe.optimizer.depends_on_length:
        return ''
    optimizer = plan.settings.optimizer
    return (
        f'its learning rate (schedule {optimizer.schedule!r}, warmup {optimizer.warmup}) '
        'depends on the length, and that of a longer run would have been another from the '
        'start'
    )


def to_tree(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Converts a config to what JSON can hold.

    Raises:
      UserError: It holds something else, such as a function.
    """
    try:
        return json.loads(config.to_json())
    except (TypeError, ValueError) as error:
        raise UserError(
            f'config: it holds a value that cannot be saved ({error}); use numbers, '
            'strings and tuples of them'
        ) from error


def _create_recipe(config: ml_collections.ConfigDict, num_examples: int) -> run.Recipe:
    settings = construct(Settings, config, 'config')
    num_steps = run.steps_per_epoch(num_examples, settings.batch_size)
    parts = sweeps.remove(to_tree(config))
    model = construct_named(settings.model, 'config.model')
    require(
        isinstance(model, nn.Module),
        f'config.model.constructor: it returns {model!r}; it must return a '
        'flax.linen.Module',
    )
    return run.Recipe(
        model=model,
        optimizer=construct(
            optimizers.create_optimizer,
            settings.optimizer,
            'config.optimizer',
            num_steps=settings.num_epochs * num_steps,
        ),
        augment=_create_augment(settings.augment),
        ema_decay=settings.ema_decay,
        configured=json.dumps([parts[name] for name in _RECIPE], sort_keys=True),
    )


def _create_augment(settings: ml_collections.ConfigDict) -> augment.Augment | None:
    path = 'config.augment'
    require('strength' in settings, f'{path}.strength is missing; allowed: a number')
    fields = settings.to_dict()
    strength = fields.pop('strength')
    require(
        type(strength) in (float, int) and 0 <= strength < math.inf,
        f'{path}.strength: found {strength!r}; allowed: 0 or more',
    )
    return construct_named(ml_collections.ConfigDict(fields), path)
