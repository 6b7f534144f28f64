"""The numbers that may differ between the runs of one program, and grids of them."""

import dataclasses
import itertools
import math
from typing import Any

import ml_collections

from mnist_flax.common.errors import require

# Where in a config is what `config.sweep` can vary: numbers that are not compiled in.
SWEPT = {
    'learning_rate': ('optimizer', 'learning_rate'),
    'weight_decay': ('optimizer', 'weight_decay'),
    'label_smoothing': ('label_smoothing',),
    'dropout_rate': ('model', 'dropout_rate'),
    'augment_strength': ('augment', 'strength'),
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Values of each number that is to vary; the grid of all their combinations is run."""

    learning_rate: tuple[float, ...]
    weight_decay: tuple[float, ...]
    label_smoothing: tuple[float, ...]
    dropout_rate: tuple[float, ...]
    augment_strength: tuple[float, ...]

    def __post_init__(self) -> None:
        for field in SWEPT:
            values = getattr(self, field)
            require(
                len(set(values)) == len(values),
                f'config.sweep.{field}: {values} has a value twice',
            )

    @property
    def num_points(self) -> int:
        """Counts the combinations."""
        return math.prod(len(getattr(self, name)) or 1 for name in SWEPT)

    def grid(self) -> list[dict[str, float]]:
        """Lists the combinations, each as values by name; one without any, if none."""
        varied = {name: getattr(self, name) for name in SWEPT if getattr(self, name)}
        return [
            dict(zip(varied, values, strict=True))
            for values in itertools.product(*varied.values())
        ]


def apply(
    config: ml_collections.ConfigDict, swept: dict[str, float]
) -> ml_collections.ConfigDict:
    """Returns a config with the values of a combination.

    Args:
      config: The settings.
      swept: Values by name, as in `SWEPT`.

    Raises:
      UserError: The config has no such field.
    """
    config = config.copy_and_resolve_references()
    for name, value in swept.items():
        *parents, field = SWEPT[name]
        tree = config
        for parent in parents:
            tree = tree[parent]
        require(
            field in tree,
            f'config.sweep.{name}: this config has no field config.{".".join(SWEPT[name])}',
        )
        tree[field] = value
    return config


def read_hyperparams(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Reads the numbers of `SWEPT` from a config; those that it does not have are 0."""
    hyperparams = {}
    for name, (*parents, field) in SWEPT.items():
        tree = config
        for parent in parents:
            tree = tree[parent]
        # A model of your own need not have a dropout rate.
        hyperparams[name] = float(tree[field]) if field in tree else 0.0
    return hyperparams


def remove(tree: dict[str, Any]) -> dict[str, Any]:
    """Returns a config, as plain values, without the numbers of `SWEPT`."""
    paths = set(SWEPT.values())

    def below(tree: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(tree, dict):
            return tree
        return {
            name: below(value, (*path, name))
            for name, value in tree.items()
            if (*path, name) not in paths
        }

    return below(tree, ())
