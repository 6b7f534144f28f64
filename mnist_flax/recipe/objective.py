"""The loss of a config, and the metrics of a step, as they are called in each step."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Float, Int

from mnist_flax.common.constructors import find_constructor, read_arguments, select
from mnist_flax.common.errors import require
from mnist_flax.models.calls import Outputs
from mnist_flax.recipe import losses, step_metrics

LOSSES = 'mnist_flax.recipe.losses'
STEP_METRICS = 'mnist_flax.recipe.step_metrics'

# What a step's metric can ask for; its other arguments come from the config.
_OF_METRIC = (
    'logits', 'aux', 'labels', 'mask', 'losses', 'grads', 'updates', 'params'
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Loss:
    """A function of logits and labels, with its other arguments from the config."""

    function: Callable[..., Any] = losses.cross_entropy
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def __call__(
        self,
        hyperparams: Mapping[str, Any],
        outputs: Outputs,
        labels: Int[Array, 'batch'],
        images: Float[Array, 'batch height width channels'],
    ) -> Any:
        """Computes the loss of each example, of shape (batch,) if the function is right.

        Args:
          hyperparams: Has the arguments that are traced, such as ``'loss.gamma'``.
          outputs: The model's.
          labels: The right answers.
          images: What the model was shown, after any augmentation.
        """
        traced = {
            name: hyperparams[f'loss.{name}']
            for name in self.arguments
            if f'loss.{name}' in hyperparams
        }
        offered = {'aux': outputs.aux, 'images': images}
        named = {name: of for name, of in offered.items() if name in self._names}
        arguments = self.arguments | traced | named
        return self.function(outputs.logits, labels, **arguments)

    @property
    def digests(self) -> dict[str, str]:
        """The ``digest`` of each argument that has one, such as a teacher's networks."""
        return {
            f'loss.{name}': of.digest
            for name, of in self.arguments.items()
            if isinstance(getattr(of, 'digest', None), str)
        }

    @property
    def takes_aux(self) -> bool:
        """Tells whether the function has an argument for what else the model returns."""
        return 'aux' in self._names

    @property
    def _names(self) -> Collection[str]:
        return inspect.signature(self.function).parameters

    @property
    def is_cross_entropy(self) -> bool:
        """Tells whether this is the loss that is reported of every run."""
        return self.function is losses.cross_entropy and not self.arguments.get(
            'label_smoothing'
        )


def create_loss(settings: ml_collections.ConfigDict) -> Loss:
    """Makes the loss from ``config.loss``.

    Raises:
      UserError: There is no such function, or a field is unknown, missing or of another
        type.
    """
    function, fields = find_constructor(settings, 'config.loss', home=LOSSES)
    others = *[*inspect.signature(function).parameters][:2], 'aux', 'images'
    return Loss(function, read_arguments(function, fields, 'config.loss', others))


@dataclasses.dataclass(frozen=True)
class StepMetric:
    """A number of each step, and what it is called in the history."""

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def __call__(self, offered: Mapping[str, Any]) -> Any:
        """Measures a step, of which ``offered`` are the arrays by name."""
        return self.function(**(select(self.function, offered) | self.arguments))


# Of the steps that `config.log_every_steps` selects.
LOGGED = (
    StepMetric('gradient_norm', step_metrics.gradient_norm),
    StepMetric('update_ratio', step_metrics.update_ratio),
)


def create_step_metrics(
    settings: ml_collections.ConfigDict, loss: Loss, is_varied: bool = False
) -> tuple[StepMetric, ...]:
    """Makes the metrics of ``config.metrics``.

    Args:
      settings: For each name a ``constructor``, as in `step_metrics`, and its arguments.
      loss: If it is another than the cross-entropy, its value is measured too.
      is_varied: Whether runs differ in a number of the loss.

    Raises:
      UserError: As in `create_loss`.
    """
    found: dict[str, StepMetric] = {}
    if is_varied or not loss.is_cross_entropy:
        found['objective'] = StepMetric('objective', _mean_loss)
    for name, subtree in settings.items():
        path = f'config.metrics.{name}'
        require(
            name not in ('loss', 'accuracy', 'objective', 'seconds'),
            f'{path}: there is a train_{name} already; choose another name',
        )
        function, fields = find_constructor(subtree, path, home=STEP_METRICS)
        arguments = read_arguments(function, fields, path, _OF_METRIC)
        found[name] = StepMetric(name, function, arguments)
    return tuple(found.values())


def measure_step(
    measured: Sequence[StepMetric], of_step: Mapping[str, Any], weight: Array
) -> dict[str, Float[Array, '']]:
    """Computes metrics of a step, each times the weight of the device's part of the batch.

    Args:
      measured: The metrics.
      of_step: The arrays of the step by name.
      weight: 0 if the device has no example of the batch.
    """
    numbers = {}
    for metric in measured:
        value = jnp.asarray(metric(of_step), jnp.float32)
        # Of no example, a mean is not a number.
        numbers[metric.name] = jnp.where(weight > 0, value * weight, 0.0)
    return numbers


def _mean_loss(losses: Float[Array, 'batch'], mask: jax.Array) -> Float[Array, '']:
    return jnp.mean(losses, where=mask)
