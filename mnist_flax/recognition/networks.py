"""The networks of a finished run, loaded from its workdir."""

import os
import pathlib
import sys
from typing import Any

import jax
import ml_collections
import numpy as np
import scipy.special
from flax import linen as nn
from flax import traverse_util
from jaxtyping import Float

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.common import addresses, renamed
from mnist_flax.common.constructors import construct_named
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.switches import in_our_settings, list_devices
from mnist_flax.data.datasets import normalize
from mnist_flax.models import CNN, calls

# The networks of the package, trained for the handwriting of other people.
PRETRAINED = pathlib.Path(__file__).parent / 'pretrained' / 'robust'

# The constructor of the package's own model. Another one has to be named by the user: a
# checkpoint from elsewhere could name any function.
DEFAULT_CONSTRUCTOR = 'mnist_flax.models.create_model'

# Images in a batch; smaller batches are padded to a power of two, so that few programs are
# compiled.
_BATCH_SIZE = 256


class Networks:
    """The networks of a finished run; several are an ensemble."""

    def __init__(
        self,
        workdir: str,
        model: nn.Module,
        variables: Any,
        about: dict[str, Any],
        precision: str,
    ):
        self.workdir = workdir  # an absolute path, or an address in a bucket
        self.about = about  # the run: its config, data set, seeds
        self.class_names: tuple[str, ...] = tuple(about['class_names'])
        self.image_shape = _read_shape(about)
        self.num_networks = len(jax.tree.leaves(variables)[0])
        self.model = model
        self.variables = jax.device_put(variables)  # with a leading axis of networks
        arguments = calls.eval_arguments(model)
        if type(model) is CNN:
            # Without gradients XLA's own convolution is the fastest on a CPU too, one
            # network after another: 256 images by four of them take 30 ms, not 109, and
            # 0.2 s to compile, not 3.7. In a training's loop it is the slowest.
            model = model.clone(conv='xla')

        @jax.jit
        def apply(variables, images):
            pixels = normalize(images)

            def apply_one(network):
                returned = model.apply(network, pixels, **arguments)
                return calls.read_outputs(returned).logits

            with jax.default_matmul_precision(precision):
                return jax.lax.map(apply_one, variables)

        self._apply = apply

    def __reduce__(self) -> tuple[Any, ...]:
        """Has them loaded anew where they are unpickled, as in a process of a pool."""
        constructor = self.about['config']['model']['constructor']
        return load_networks, (self.workdir, constructor)

    @in_our_settings()
    def logits(
        self, images: np.ndarray | jax.Array
    ) -> Float[np.ndarray, 'networks images classes']:
        """Computes the logits of images of ``image_shape``.

        Raises:
          UserError: They are of another shape, or no bytes; those from 0 to 1, say, would
            be misread.
        """
        images = np.asarray(images)
        require(
            images.dtype == np.uint8 and images.shape[1:] == self.image_shape,
            f'the images are {images.dtype} of shape {images.shape}; they must be uint8, '
            f'from 0 to 255, of shape (n, {", ".join(map(str, self.image_shape))})',
        )
        parts = [np.zeros((self.num_networks, 0, len(self.class_names)), np.float32)]
        for start in range(0, len(images), _BATCH_SIZE):
            batch = images[start : start + _BATCH_SIZE]
            size = 1 << (len(batch) - 1).bit_length()
            padded = np.pad(batch, ((0, size - len(batch)), (0, 0), (0, 0), (0, 0)))
            parts.append(np.asarray(self._apply(self.variables, padded))[:, : len(batch)])
        return np.concatenate(parts, axis=1)

    def probabilities(
        self, images: np.ndarray | jax.Array
    ) -> Float[np.ndarray, 'images classes']:
        """Computes the probability of each class, the mean over the networks."""
        return mean_probabilities(self.logits(images))


def mean_probabilities(
    logits: Float[np.ndarray, 'networks images classes'],
) -> Float[np.ndarray, 'images classes']:
    """Computes the probability of each class, the mean over the networks."""
    return scipy.special.softmax(logits.astype(np.float64), axis=-1).mean(axis=0)


@in_our_settings()
def load_networks(workdir: str | pathlib.Path = '', constructor: str = '') -> Networks:
    """Loads the networks of a finished run.

    Nothing of what is loaded is executed, so that a run from elsewhere is safe to load.

    Args:
      workdir: The workdir of the run, which may be in a bucket, such as
        ``s3://bucket/run1``; if empty, the networks of the package.
      constructor: The function that makes the model, as in ``config.model``; if empty,
        that of the package's own model.

    Raises:
      UserError: There is no finished run, its files are damaged, its model is made by
        another function, or all its networks have diverged.
    """
    name = os.path.expanduser(workdir or PRETRAINED)
    if addresses.is_bucket(name):
        name = addresses.normalize(name)
    else:
        addresses.require_local(name, '--workdir')
        name = os.path.abspath(name)
    with workdirs.open_to_read(name, workdirs.MODEL) as folder:
        path = folder / workdirs.MODEL
        require(
            os.path.isdir(path),
            f'--workdir: {str(workdir)!r} holds no finished run (there is no folder '
            f'{path}); name the workdir of a run that has finished',
        )
        return _load(path, name, constructor or DEFAULT_CONSTRUCTOR)


def _with_tuples(tree: Any) -> Any:
    """Replaces lists, which JSON has for tuples, at any depth."""
    if isinstance(tree, dict):
        return {name: _with_tuples(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return tuple(_with_tuples(value) for value in tree)
    return tree


def _load(path: pathlib.Path, workdir: str, constructor: str) -> Networks:
    list_devices()  # otherwise the checkpoint would be blamed
    checkpoint = checkpoints.read(path)
    try:
        config = renamed.upgrade_config(checkpoint.about['config'])
        settings = dict(config['model'])
        model_config = ml_collections.ConfigDict(_with_tuples(settings))
        finite = np.array([not run['diverged'] for run in checkpoint.about['runs']])
        names = checkpoint.about['class_names']
        have_names = all(isinstance(name, str) and name.isprintable() for name in names)
        num_classes = len({*names}) if have_names else 0
        image_shape = _read_shape(checkpoint.about)
        least, most = map(float, checkpoint.about.get('edges', (0, 255)))
        if not least <= most:
            raise ValueError('the brightness of edges is no range')
        precision = config.get('matmul_precision', 'float32')  # early runs do not say
        jax.default_matmul_precision(precision)  # raises if it is not one
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'--workdir: {path} does not hold networks of this program'
        ) from error
    made_by = settings.get('constructor')
    require(
        made_by == constructor,
        f'--workdir: the network in {path} is made by {made_by!r}, not by {constructor!r}; '
        'if you trust the code of that function, name it with --constructor',
    )
    model = construct_named(model_config, 'config.model')
    described = _describe_variables(model, image_shape, num_classes, path)
    expected = {
        name: f'{of.dtype}{[len(finite), *of.shape]}' for name, of in described.items()
    }
    found = {name: f'{of.dtype}{[*of.shape]}' for name, of in checkpoint.arrays.items()}
    for name in sorted({*expected, *found}):
        require(
            found.get(name) == expected.get(name),
            f'--workdir: {path} does not hold the parameters of its network: {name} is '
            f'{found.get(name, "missing")}, and should be {expected.get(name, "absent")}',
        )
    require(bool(finite.any()), f'--workdir: all networks in {path} have diverged')
    variables = {name: array[finite] for name, array in checkpoint.arrays.items()}
    require(
        all(  # another collection of a user's model may hold an infinite constant
            np.isfinite(array).all()
            for name, array in variables.items()
            if name.startswith(('params.', 'batch_stats.'))
        ),
        f'--workdir: {path} holds parameters that are infinite or not numbers',
    )
    if str(config['dataset'].get('name')).startswith('emnist') and not (
        checkpoint.about.get('turned_upright')
    ):
        print(
            f'warning: the network in {path} was trained on EMNIST lying on its side, as '
            'earlier versions loaded it; train it again for pictures that stand upright',
            file=sys.stderr,
        )
    nested = traverse_util.unflatten_dict(variables, sep='.')
    about = {**checkpoint.about, 'config': config}
    return Networks(workdir, model, nested, about, precision)


def _read_shape(about: dict[str, Any]) -> tuple[int, ...]:
    """Reads height, width and channels; early runs, of MNIST, do not say.

    Raises:
      ValueError: They are no shape of an image, or larger than any that is trained on.
    """
    shape = about.get('image_shape', (28, 28, 1))
    fits = len(shape) == 3 and all(type(of) is int and 1 <= of <= 1023 for of in shape)
    if not fits or shape[2] not in (1, 3):
        raise ValueError(f'the images have the shape {shape}')
    return tuple(shape)


def _describe_variables(
    model: nn.Module, image_shape: tuple[int, ...], num_classes: int, path: pathlib.Path
) -> dict[str, jax.ShapeDtypeStruct]:
    """Describes the model's variables by name, after checking its input and output."""
    image = jax.ShapeDtypeStruct((1, *image_shape), 'float32')

    def init(key, image):
        arguments = calls.eval_arguments(model)
        returned, variables = model.init_with_output(key, image, **arguments)
        return calls.read_outputs(returned).logits, variables

    try:
        logits, variables = jax.eval_shape(init, jax.random.key(0), image)
    except Exception as error:  # a user's own model can raise anything
        reason = ' '.join(str(error).split())[:200]
        raise UserError(
            f'--workdir: the network in {path} cannot take images of shape {image_shape} '
            f'({type(error).__name__}: {reason})'
        ) from error
    require(
        num_classes >= 2 and logits.shape == (1, num_classes),
        f'--workdir: the network in {path} gives logits of shape {logits.shape} for an '
        f'image, but its run has {num_classes} classes',
    )
    return traverse_util.flatten_dict(variables, sep='.')
