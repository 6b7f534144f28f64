"""A config to the runs that it asks for: what they share, and the numbers of each."""

import json
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jax.sharding import Mesh

from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.constructors import construct
from mnist_flax.common.errors import require
from mnist_flax.data import datasets
from mnist_flax.training import check_recipe, devices, recipes, run, sweeps
from mnist_flax.training.settings import MOST_RUNS, Settings, to_tree
from mnist_flax.training.sweeps import Overrides

# A step is counted in 32 bits.
_MOST_STEPS = 2**31 - 1


class RunPlan(NamedTuple):
    """What sets a run apart from the others of its population."""

    position: int  # among all runs of the config, from 0
    seed: int
    swept: Overrides  # what `config.sweep` varies, by path
    hyperparams: dict[str, float]  # as in `run.TrainState`


class Plan(NamedTuple):
    """Runs that one program trains, seed by seed for each combination of the sweep."""

    settings: Settings
    mesh: Mesh  # for as many runs at once as are wanted
    dataset: datasets.Dataset
    recipe: run.Recipe
    runs: list[RunPlan]
    checkpoint: checkpoints.Options

    @property
    def steps_per_epoch(self) -> int:
        """Counts the steps of an epoch."""
        return run.steps_per_epoch(len(self.dataset.train.labels), self.settings.batch_size)

    @property
    def num_steps(self) -> int:
        """Counts the steps of the whole training."""
        return self.settings.num_epochs * self.steps_per_epoch


def make_plan(
    config: ml_collections.ConfigDict,
    dataset: datasets.Dataset | None = None,
    seeds: Sequence[int] | None = None,
) -> Plan:
    """Makes the plan of a config that needs one program, see `make_plans`."""
    (plan,) = make_plans(config, dataset, seeds)
    return plan


def make_plans(
    config: ml_collections.ConfigDict,
    dataset: datasets.Dataset | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Plan]:
    """Checks a config, claims the devices and loads the data.

    Args:
      config: The settings, such as those of ``configs/default.py``.
      dataset: Its data, if they have been loaded before.
      seeds: The seeds, if not those of ``config.seed`` and ``config.runs``.

    Returns:
      All that is needed to train: a plan for each program that the sweep needs.

    Raises:
      UserError: The config, the devices or the data are not usable.
    """
    settings = construct(Settings, config, 'config')
    to_tree(config)  # rather now than when the report is written
    if seeds is None:
        seeds = range(settings.seed, settings.seed + settings.runs)
    points = sweeps.read(config)
    num_runs = len(points) * len(seeds)
    require(
        num_runs <= MOST_RUNS,
        f'config.sweep: found {num_runs} runs, {len(points)} combinations with '
        f'{len(seeds)} seeds; allowed: up to {MOST_RUNS}',
    )
    require(
        len(points) == 1 or settings.dataset.get('validation') == 'holdout',
        'config.sweep: combinations are compared on images that are not the test set; add '
        '--config.dataset.validation=holdout',
    )
    # Of all groups the first has the most to say: JAX settles its devices once.
    _make_mesh(settings, num_runs)
    plans: list[Plan] = []
    loaded: dict[str, datasets.Dataset] = {}
    numbers = recipes.find_numbers(points)
    for config_, points_ in sweeps.group(config, points, numbers):
        key = json.dumps(to_tree(config_)['dataset'], sort_keys=True)
        loaded[key] = dataset or loaded.get(key) or _load(config_)
        # Whether a number need not be compiled in depends on the functions that get it.
        configs = _override(config_, points_, loaded[key])
        traced = recipes.find_traced(configs, numbers, loaded[key])
        for base, members in sweeps.group(config_, points_, traced):
            position = plans[-1].runs[-1].position + 1 if plans else 0
            plans.append(_plan(base, members, traced, seeds, loaded[key], position))
    for plan in plans:
        require(
            _are_same(plan.dataset, plans[0].dataset),
            'config.sweep: it changes which images are held out; take train_split and '
            'holdout_size so that these stay the same',
        )
    return plans


def complete(
    config: ml_collections.ConfigDict, num_classes: int
) -> ml_collections.ConfigDict:
    """Fills in what a config leaves to the data: the number of classes, if it is 0."""
    if not isinstance(config.model, ml_collections.ConfigDict):  # it is named later
        return config
    found = config.model.get('num_classes')
    if type(found) is not int or found:  # the model refuses False and 0.0
        return config
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.num_classes = num_classes
    return config


def _override(
    config: ml_collections.ConfigDict,
    points: Sequence[Overrides],
    dataset: datasets.Dataset,
) -> list[ml_collections.ConfigDict]:
    configs = [sweeps.override(config, point, 'config.sweep') for point in points]
    # A model that is swept over may leave its number of classes to the data too.
    return [complete(of, len(dataset.class_names)) for of in configs]


def _make_mesh(settings: Settings, num_runs: int) -> Mesh:
    return devices.make_mesh(
        settings.num_devices,
        settings.batch_size,
        num_runs=min(settings.runs_at_once or num_runs, num_runs),
    )


def _load(config: ml_collections.ConfigDict) -> datasets.Dataset:
    return construct(datasets.load, config.dataset, 'config.dataset')


def _are_same(one: datasets.Dataset, other: datasets.Dataset) -> bool:
    return one is other or all(
        np.array_equal(a, b)
        for a, b in zip(
            (*one.validation, *one.test), (*other.validation, *other.test), strict=True
        )
    )


def _plan(
    config: ml_collections.ConfigDict,
    points: Sequence[Overrides],
    traced: Set[str],
    seeds: Sequence[int],
    dataset: datasets.Dataset,
    position: int,
) -> Plan:
    """Plans the runs of one program."""
    settings = construct(Settings, config, 'config')
    num_examples, *image_shape = dataset.train.images.shape
    require(
        settings.batch_size <= num_examples,
        f'config.batch_size: found {settings.batch_size}; allowed: 1 to {num_examples}, '
        'the number of training examples',
    )
    most = run.steps_per_epoch(num_examples, settings.batch_size)
    require(
        settings.log_every_steps <= most,
        f'config.log_every_steps: found {settings.log_every_steps}; allowed: 0 to {most}, '
        'the steps of an epoch',
    )
    most_epochs = _MOST_STEPS // most
    require(
        settings.num_epochs <= most_epochs,
        f'config.num_epochs: found {settings.num_epochs}; allowed: 1 to {most_epochs}, so '
        'that steps can be counted',
    )
    mesh = _make_mesh(settings, len(points) * len(seeds))
    share = settings.batch_size // mesh.shape[devices.DATA]
    require(
        settings.microbatch_size <= share and share % (settings.microbatch_size or 1) == 0,
        f'config.microbatch_size: found {settings.microbatch_size}; allowed: 0, or a '
        f'divisor of {share}, the examples of a step on each device',
    )
    configs = _override(config, points, dataset)
    created = [
        recipes.create_recipe(point, num_examples, tuple(image_shape), traced)
        for point in configs
    ]
    hyperparams = [
        recipes.read_hyperparams(point, created[0], traced & swept.keys())
        for point, swept in zip(configs, points, strict=True)
    ]
    # What is 0 in all runs is left out of the program; the default has the rate alone.
    always = {'optimizer.learning_rate', *traced}
    used = [
        name
        for name in hyperparams[0]
        if name in always or any(point[name] for point in hyperparams)
    ]
    for recipe, point in zip(created, hyperparams, strict=True):
        check_recipe.check_loss(recipe, {name: point[name] for name in used}, dataset)
    memory = devices.memory_per_device(mesh)
    check_recipe.check_recipe(created[0], used, dataset, memory)
    runs = [
        (seed, swept, {name: point[name] for name in used})
        for swept, point in zip(points, hyperparams, strict=True)
        for seed in seeds
    ]
    return Plan(
        settings,
        mesh,
        dataset,
        created[0],
        [RunPlan(i, *fields) for i, fields in enumerate(runs, start=position)],
        construct(checkpoints.Options, settings.checkpoint, 'config.checkpoint'),
    )


def describe(config: ml_collections.ConfigDict, plans: Sequence[Plan]) -> dict[str, Any]:
    """Converts a config to plain values, with what has been decided for it.

    That is what a function returned for its sweep, whether images were set upright, which
    data set had the name, and which training examples of the user's own were added.
    """
    tree = to_tree(complete(config, len(plans[0].dataset.class_names)))
    if 'constructor' in config.sweep:
        swept = {json.dumps(run.swept): run.swept for plan in plans for run in plan.runs}
        tree['sweep']['points'] = json.loads(json.dumps([*swept.values()]))
    if plans[0].dataset.turned:  # which earlier versions did not do
        tree['dataset']['turned_upright'] = True
    tree['dataset'] |= plans[0].dataset.digests
    return tree


def explain_fixed_length(plan: Plan) -> str:
    """Says why another number of epochs would be another run from its first step on.

    Empty if it would not be: with a constant learning rate a run can be extended.
    """
    if not plan.recipe.optimizer.depends_on_length():
        return ''
    return (
        f'its learning rate (config.schedule: {plan.settings.schedule.to_dict()}) depends '
        'on the length, and that of a longer run would have been another from the start'
    )
