"""A finished run to predictions: of images like MNIST's, and of any picture of a digit."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import scipy.special
from flax import linen as nn
from flax import traverse_util
from jaxtyping import Float, UInt8

from mnist_flax.checkpointing import checkpoints, workdirs
from mnist_flax.recognition import framing, ink, pictures
from mnist_flax.common.errors import UserError, construct_named, require
from mnist_flax.data.datasets import IMAGE_SHAPE, normalize
from mnist_flax.models.cnn import CNN

# Of a network that came with the project: robust to other people's handwriting.
PRETRAINED = pathlib.Path(__file__).parent / 'pretrained' / 'robust'

# A stranger's checkpoint could name any function.
OURS = 'mnist_flax.models.create_model'

# Images at a time; fewer are filled up to a power of two, so that little is compiled.
_BATCH_SIZE = 256


class Prediction(NamedTuple):
    """What the network says of a picture."""

    label: int  # the likeliest class
    confidence: float  # its probability
    runner_up: int  # the next likely class
    probabilities: Float[np.ndarray, 'classes']
    image: UInt8[np.ndarray, '28 28 1']  # what the network saw


class Recognizer:
    """The networks of a finished run; of several, the mean of what they say."""

    def __init__(self, model: nn.Module, variables: Any, about: dict[str, Any]):
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

        @jax.jit
        def apply(variables, images):
            pixels = normalize(images)
            return jax.lax.map(lambda network: model.apply(network, pixels), variables)

        self._logits = apply

    def logits(
        self, images: UInt8[np.ndarray, 'images 28 28 1']
    ) -> Float[np.ndarray, 'runs images classes']:
        """Computes the logits of images that are in MNIST's form."""
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
        """Computes the probability of each class for images that are in MNIST's form."""
        of_runs = scipy.special.softmax(self.logits(images).astype(np.float64), axis=-1)
        return of_runs.mean(axis=0)

    def predict(self, sources: Sequence[pictures.Source]) -> list[Prediction]:
        """Recognises the digits in pictures.

        Args:
          sources: Files by name, their contents, or arrays, as in `pictures.read`.

        Returns:
          What each shows.

        Raises:
          UserError: A picture cannot be read, or shows no digit or several.
        """
        return self.predict_images(
            [
                see(
                    source,
                    str(i) if isinstance(source, bytes | np.ndarray) else str(source),
                )
                for i, source in enumerate(sources, 1)
            ]
        )

    def predict_images(
        self, images: Sequence[UInt8[np.ndarray, '28 28 1']]
    ) -> list[Prediction]:
        """Recognises digits that are in MNIST's form, as `see` returns."""
        stacked = np.stack(images) if len(images) else np.zeros((0, *IMAGE_SHAPE), np.uint8)
        predictions = []
        for image, row in zip(stacked, self.probabilities(stacked), strict=True):
            label, runner_up = np.argsort(-row, kind='stable')[:2].tolist()
            confidence = float(row[label])
            predictions.append(Prediction(label, confidence, runner_up, row, image))
        return predictions


def see(source: pictures.Source, name: str = 'picture') -> UInt8[np.ndarray, '28 28 1']:
    """Brings the digit in a picture into the form of MNIST's images.

    Args:
      source: As in `pictures.read`.
      name: What to call it in messages.

    Raises:
      UserError: It cannot be read, or shows no digit or several.
    """
    colours = pictures.read(source, name)
    return framing.frame(ink.find_ink(colours, name), name)


def load(workdir: str | pathlib.Path = PRETRAINED, constructor: str = OURS) -> Recognizer:
    """Loads the networks of a finished run.

    Nothing of what is loaded is executed, so that a stranger's is safe.

    Args:
      workdir: Where the run has ended.
      constructor: The function that makes its network, as in ``config.model``. One of
        your own must be named here, since a checkpoint could name any.

    Raises:
      UserError: No run has ended there, its files are damaged, its network is made by
        another function, or all its networks have diverged.
    """
    path = pathlib.Path(os.path.expanduser(workdir)) / workdirs.MODEL
    require(
        os.path.isdir(path),
        f'--workdir: found in {str(workdir)!r} no finished run (no folder {path}); '
        'allowed: the workdir of a run that has ended',
    )
    checkpoint = checkpoints.read(path)
    try:
        settings = dict(checkpoint.about['config']['model'])
        well = np.array([not run['diverged'] for run in checkpoint.about['runs']])
        names = checkpoint.about['class_names']
        well_named = all(isinstance(name, str) and name.isprintable() for name in names)
        num_classes = len({*names}) if well_named else 0
        # JSON has lists for tuples.
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        model_config = ml_collections.ConfigDict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'--workdir: {path} is no network of this program') from error
    found = settings.get('constructor')
    require(
        found == constructor,
        f'--workdir: found in {path} a network that {found!r} makes; allowed: '
        f'{constructor!r}, or another --constructor, whose code you trust',
    )
    model = construct_named(model_config, 'config.model')
    expected = _describe_variables(model, num_classes)
    found = {name: (of.shape, of.dtype) for name, of in checkpoint.arrays.items()}
    require(
        found == {k: ((len(well), *of.shape), of.dtype) for k, of in expected.items()},
        f'--workdir: {path} does not hold the parameters of its network',
    )
    require(bool(well.any()), f'--workdir: {path} holds only networks that have diverged')
    variables = {name: array[well] for name, array in checkpoint.arrays.items()}
    require(
        all(np.isfinite(array).all() for array in variables.values()),
        f'--workdir: {path} holds parameters that are infinite, or no numbers',
    )
    return Recognizer(
        model, traverse_util.unflatten_dict(variables, sep='.'), checkpoint.about
    )


def _describe_variables(
    model: nn.Module, num_classes: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Describes the network's variables by name; none if it has other classes."""
    image = jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), 'float32')
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    if logits.shape != (1, num_classes) or num_classes < 2:
        return {}
    return traverse_util.flatten_dict(variables, sep='.')
