"""The fields of a config, and a config as plain values."""

import dataclasses
import json
from typing import Any, Literal

import ml_collections

from mnist_flax.common.errors import UserError, require

# Each leaves 1 MB of logits and parameters in memory to report on.
MOST_RUNS = 10_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """The fields of a config; those that are subtrees have constructors of their own."""

    seed: int
    runs: int
    runs_at_once: int
    num_epochs: int
    batch_size: int
    microbatch_size: int
    num_devices: int
    matmul_precision: Literal['float32', 'tensorfloat32', 'bfloat16']
    ema_decay: float
    log_every_steps: int
    dataset: ml_collections.ConfigDict
    model: ml_collections.ConfigDict
    loss: ml_collections.ConfigDict
    optimizer: ml_collections.ConfigDict
    schedule: ml_collections.ConfigDict
    augment: ml_collections.ConfigDict
    metrics: ml_collections.ConfigDict
    evaluators: ml_collections.ConfigDict
    writers: ml_collections.ConfigDict
    sweep: ml_collections.ConfigDict
    checkpoint: ml_collections.ConfigDict

    def __post_init__(self) -> None:
        for name, low, high in (
            ('seed', 0, 2**32 - 1),
            ('runs', 1, MOST_RUNS),
            ('runs_at_once', 0, None),
            ('num_epochs', 1, None),
            ('batch_size', 1, None),
            ('microbatch_size', 0, None),
            ('log_every_steps', 0, None),
        ):
            value = getattr(self, name)
            require(
                low <= value and (high is None or value <= high),
                f'config.{name}: found {value}; allowed: {low} '
                + ('or more' if high is None else f'to {high}'),
            )
        require(
            0 <= self.ema_decay <= 0.9999,  # with 0.9999999 the average of 1 is 0.84
            f'config.ema_decay: found {self.ema_decay}; allowed: 0 to 0.9999, since closer '
            'to 1 the average is imprecise in 32 bits',
        )
        require(
            self.seed + self.runs <= 2**32,
            f'config.runs: found {self.runs} from seed {self.seed} on; allowed: seeds up '
            f'to {2**32 - 1}',
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
