"""The recipe and the variants of an ablation: their configs, and their plans."""

import re
from collections.abc import Sequence
from typing import Any

import ml_collections

from mnist_flax.ablation.report import RECIPE
from mnist_flax.common.constructors import digest_sources
from mnist_flax.common.errors import UserError, require
from mnist_flax.data import datasets
from mnist_flax.recipe import objective
from mnist_flax.training import recipes, sweeps
from mnist_flax.training.plan import Plan, make_plan
from mnist_flax.training.settings import to_tree


def make_configs(
    config: ml_collections.ConfigDict,
) -> dict[str, ml_collections.ConfigDict]:
    """Makes the config of each variant.

    Args:
      config: ``recipe``, a config like ``configs/default.py``, and ``variants``, of which
        each holds the fields of the recipe that it changes. Where it names another
        ``constructor``, its subtree takes the place of the recipe's.

    Returns:
      Configs by variant, that of the recipe first.

    Raises:
      UserError: A variant changes a field that the recipe does not have, or one that must
        be the same for all; or the recipe has no held-out images.
    """
    for part in ('recipe', 'variants'):
        require(
            isinstance(config.get(part), ml_collections.ConfigDict),
            f'config.{part} must be a ConfigDict; see configs/ablation.py',
        )
    recipe = config.recipe
    dataset = recipe.get('dataset')
    require(
        isinstance(dataset, ml_collections.ConfigDict),
        f'config.recipe.dataset: found {dataset!r}; allowed: a ConfigDict',
    )
    validation = dataset.get('validation')
    require(
        validation == 'holdout',
        f'config.recipe.dataset.validation: found {validation!r}; allowed: '
        "'holdout', since variants are compared on images that are not the test set",
    )
    require(
        recipe.get('runs') == 1 and recipe.get('seed') == 0 and not recipe.get('sweep'),
        'config.recipe must have runs = 1, seed = 0 and no sweep, since --seeds says which '
        'runs are trained',
    )
    require(
        RECIPE not in config.variants,
        f'config.variants.{RECIPE}: this is the name of the recipe itself; use another',
    )
    configs = {RECIPE: recipe}
    for name, changes in config.variants.items():
        require(
            bool(re.fullmatch(r'\w[\w-]*', name)),
            f'config.variants.{name}: found this name; allowed: letters, digits, _ and -',
        )
        require(
            isinstance(changes, ml_collections.ConfigDict)
            and not {'dataset', 'runs', 'runs_at_once', 'seed', 'sweep'} & {*changes},
            f'config.variants.{name}: found {changes}; allowed: fields of config.recipe '
            'other than dataset, runs, runs_at_once, seed and sweep',
        )
        configs[name] = sweeps.override(
            recipe, changes.to_dict(), f'config.variants.{name}'
        )
    return configs


def choose_variants(
    configs: dict[str, ml_collections.ConfigDict], names: Sequence[str]
) -> list[str]:
    """Lists the recipe and the variants that are named, or all if none is.

    Raises:
      UserError: There is no such variant.
    """
    for name in names:
        require(
            name in configs,
            f'--variants: found {name!r}; allowed: {", ".join(list(configs)[1:])}',
        )
    return [name for name in configs if not names or name in (RECIPE, *names)]


def make_plans(
    configs: dict[str, ml_collections.ConfigDict], names: Sequence[str], num_seeds: int
) -> dict[str, Plan]:
    """Plans the runs of variants; the data are the same for all.

    Args:
      configs: By variant.
      names: Which ones, the recipe first.
      num_seeds: Runs of each.

    Raises:
      UserError: One of them cannot be trained.
    """
    seeds = range(num_seeds)
    plans = {RECIPE: make_plan(configs[RECIPE], seeds=seeds)}
    for name in names:
        try:
            plans[name] = make_plan(configs[name], plans[RECIPE].dataset, seeds)
        except UserError as error:
            raise UserError(f'config.variants.{name}: {error}') from error
    return plans


def describe(
    config: ml_collections.ConfigDict, dataset: datasets.Dataset
) -> dict[str, Any]:
    """Converts the config of a variant to plain values, with what makes it another one.

    That is the source of a user's own functions, a teacher's networks, and which data set
    had the name.

    Raises:
      UserError: The loss cannot be made.
    """
    tree = to_tree(config)
    digests = objective.create_loss(config.loss).digests
    tree['source'] = digest_sources(recipes.list_functions(config)) | digests
    tree['dataset'] |= dataset.digests
    return tree
