"""The networks of a finished run, loaded from its workdir."""

import functools
import os
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np
import scipy.special
from flax import linen as nn
from flax import traverse_util
from jaxtyping import Float, UInt8

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common import renamed
from mnist_flax.common.constructors import construct_named
from mnist_flax.common.errors import UserError, require
from mnist_flax.data.datasets import IMAGE_SHAPE, normalize
from mnist_flax.models import CNN, calls

# The networks that come with the project: robust to other people's handwriting.
PRETRAINED = pathlib.Path(__file__).parent / 'pretrained' / 'robust'

# The constructor of the project's own model. A stranger's checkpoint could name any
# function, so another one has to be named by the user.
DEFAULT_CONSTRUCTOR = 'mnist_flax.models.create_model'

# Images at a time; fewer are filled up to a power of two, so that little is compiled.
_BATCH_SIZE = 256


class Networks:
    """The networks of a finished run; with several, probabilities are their mean."""

    def __init__(
        self,
        workdir: pathlib.Path,
        model: nn.Module,
        variables: Any,
        about: dict[str, Any],
        precision: str,
    ):
        self.workdir = workdir
        self.about = about  # the run: its config, data set, seeds
        self.class_names: tuple[str, ...] = tuple(about['class_names'])
        self.num_networks = len(jax.tree.leaves(variables)[0])
        if type(model) is CNN:
            # Outside a training's loop the plain one is the fastest on a CPU too, one
            # network after another: 256 images by four of them take 30 ms, not 109, and
            # 0.2 s to compile, not 3.7.
            model = model.clone(conv='xla')
        self.model = model
        self.variables = jax.device_put(variables)  # with an axis of networks
        arguments = calls.eval_arguments(model)

        @jax.jit
        def apply(variables, images):
            pixels = normalize(images)
            with jax.default_matmul_precision(precision):
                return jax.lax.map(
                    lambda network: model.apply(network, pixels, **arguments), variables
                )

        self._logits = apply

    def logits(
        self, images: UInt8[np.ndarray, 'images 28 28 1']
    ) -> Float[np.ndarray, 'networks images classes']:
        """Computes the logits of images that are in MNIST's format."""
        parts = []
        for start in range(0, len(images), _BATCH_SIZE):
            batch = images[start : start + _BATCH_SIZE]
            size = 1 << (len(batch) - 1).bit_length()
            filled = np.pad(batch, ((0, size - len(batch)), (0, 0), (0, 0), (0, 0)))
            logits = self._logits(self.variables, filled)
            parts.append(np.asarray(logits)[:, : len(batch)])
        if not parts:
            return np.zeros((self.num_networks, 0, len(self.class_names)), np.float32)
        return np.concatenate(parts, axis=1)

    def probabilities(
        self, images: UInt8[np.ndarray, 'images 28 28 1']
    ) -> Float[np.ndarray, 'images classes']:
        """Computes the probability of each class for images in MNIST's format."""
        of_each = scipy.special.softmax(self.logits(images).astype(np.float64), axis=-1)
        return of_each.mean(axis=0)


def load_networks(workdir: str | pathlib.Path = '', constructor: str = '') -> Networks:
    """Loads the networks of a finished run.

    Nothing of what is loaded is executed, so that a stranger's is safe.

    Args:
      workdir: Of the run; if empty, the networks that come with the project.
      constructor: The function that makes the model, as in ``config.model``; if empty,
        that of the project's own. Another one has to be named here, since a checkpoint
        could name any function.

    Raises:
      UserError: No run has ended there, its files are damaged, its network is made by
        another function, or all its networks have diverged.
    """
    constructor = constructor or DEFAULT_CONSTRUCTOR
    folder = pathlib.Path(os.path.expanduser(workdir or PRETRAINED))
    path = folder / workdirs.MODEL
    require(
        os.path.isdir(path),
        f'--workdir: {str(workdir)!r} holds no finished run (there is no folder {path}); '
        'name the workdir of a run that has finished',
    )
    checkpoint = checkpoints.read(path)
    try:
        config = renamed.upgrade_config(checkpoint.about['config'])
        settings = dict(config['model'])
        finite = np.array([not run['diverged'] for run in checkpoint.about['runs']])
        names = checkpoint.about['class_names']
        have_names = all(isinstance(name, str) and name.isprintable() for name in names)
        num_classes = len({*names}) if have_names else 0
        # JSON has lists for tuples.
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        model_config = ml_collections.ConfigDict(fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'--workdir: {path} does not hold networks of this program'
        ) from error
    found = settings.get('constructor')
    require(
        found == constructor,
        f'--workdir: the network in {path} is made by {found!r}, not by {constructor!r}; '
        'if you trust the code of that function, name it with --constructor',
    )
    model = construct_named(model_config, 'config.model')
    expected = {
        name: ((len(finite), *of.shape), of.dtype)
        for name, of in _describe_variables(model, num_classes, path).items()
    }
    found = {name: (of.shape, of.dtype) for name, of in checkpoint.arrays.items()}
    for name in sorted({*expected, *found}):
        require(
            found.get(name) == expected.get(name),
            f'--workdir: {path} does not hold the parameters of its network: {name} has '
            f'{_describe(found.get(name))}, not {_describe(expected.get(name))}',
        )
    require(bool(finite.any()), f'--workdir: all networks in {path} have diverged')
    variables = {name: array[finite] for name, array in checkpoint.arrays.items()}
    require(
        all(np.isfinite(array).all() for array in variables.values()),
        f'--workdir: {path} holds parameters that are infinite or not numbers',
    )
    about = {**checkpoint.about, 'config': config}
    nested = traverse_util.unflatten_dict(variables, sep='.')
    precision = config.get('matmul_precision', 'float32')  # runs of old do not say
    return Networks(folder, model, nested, about, precision)


def _describe(array: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return f'{array[1]}{list(array[0])}' if array else 'nothing'


def _describe_variables(
    model: nn.Module, num_classes: int, path: pathlib.Path
) -> dict[str, jax.ShapeDtypeStruct]:
    """Describes the model's variables by name."""
    image = jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), 'float32')
    init = functools.partial(model.init_with_output, **calls.eval_arguments(model))
    try:
        logits, variables = jax.eval_shape(init, jax.random.key(0), image)
    except Exception as error:  # a model of a user's own can raise anything
        reason = ' '.join(str(error).split())[:200]
        raise UserError(
            f'--workdir: the network in {path} cannot take images of shape {IMAGE_SHAPE} '
            f'({type(error).__name__}: {reason})'
        ) from error
    require(
        num_classes >= 2 and logits.shape == (1, num_classes),
        f'--workdir: the network in {path} gives logits of shape {logits.shape} for an '
        f'image, but its run has {num_classes} classes',
    )
    return traverse_util.flatten_dict(variables, sep='.')
