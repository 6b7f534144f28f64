"""The default network, taught by larger networks: knowledge distillation."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from configs import accurate
from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError
from mnist_flax.models import calls
from mnist_flax.recognition import networks


class Teacher:
    """The networks of a finished run; their mean logits are what a student learns."""

    def __init__(self, workdir: str, network: str):
        """Loads the networks.

        Args:
          workdir: Of the run.
          network: The constructor of its model.

        Raises:
          UserError: There is no such run.
        """
        try:
            loaded = networks.load_networks(workdir, network)
        except UserError as error:
            reason = str(error).removeprefix('--workdir: ')
            raise UserError(f'config.loss.teacher: {reason}') from error
        model = loaded.model
        apply: Any = functools.partial(model.apply, **calls.eval_arguments(model))
        self._apply: Callable[[Any, Any], jax.Array] = apply
        self._variables = loaded.variables  # with a leading axis of networks
        self._number = loaded.num_networks
        # A student is not resumed with another teacher.
        self.digest = checkpoints.digest(flatten_dict(loaded.variables, sep='.'))

    def __call__(
        self, images: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch classes']:
        """Computes the mean of the networks' logits."""
        each = [
            self._apply(jax.tree.map(lambda leaf, i=i: leaf[i], self._variables), images)
            for i in range(self._number)
        ]
        logits = [calls.read_outputs(returned).logits for returned in each]
        return jnp.mean(jnp.stack(logits), axis=0)


def distill(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'],
    images: Float[Array, 'batch height width channels'],
    teacher: Teacher,
    temperature: float,
    weight: float,
) -> Float[Array, 'batch']:
    """Cross-entropy with a teacher's probabilities and with the labels, in nats.

    Hinton et al. 2015, arXiv 1503.02531. The teacher sees the images as the student does,
    after their augmentation (Beyer et al. 2022, arXiv 2106.05237).

    Args:
      logits: The student's.
      labels: The right answers.
      images: What the student was shown.
      teacher: Gives logits for these.
      temperature: By which the logits of both are divided; the teacher's part of the loss
        is multiplied by its square, so that gradients keep their size.
      weight: Of the teacher's part; the rest is that of the labels.
    """
    targets = jax.nn.softmax(jax.lax.stop_gradient(teacher(images)) / temperature)
    taught = optax.softmax_cross_entropy(logits / temperature, targets) * temperature**2
    told = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return weight * taught + (1 - weight) * told


def get_config() -> ConfigDict:
    """Returns the accurate settings with a teacher, fewer epochs and no dropout."""
    config = accurate.get_config()
    config.num_epochs = 16
    config.model.dropout_rate = 0.0
    config.loss = ConfigDict({'constructor': 'configs.distilled.distill'})
    config.loss.temperature = 2.0  # by which the logits of both are divided
    config.loss.weight = 0.9  # of what the teacher says; the rest is the labels'
    config.loss.teacher = ConfigDict()
    config.loss.teacher.constructor = 'configs.distilled.Teacher'
    config.loss.teacher.workdir = 'outputs/teacher'  # of configs/teacher.py
    config.loss.teacher.network = 'configs.teacher.Network'  # its model's constructor
    return config
