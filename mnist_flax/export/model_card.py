"""The model card: what a user of an exported network needs to know, as Markdown."""

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import scipy.special
from jaxtyping import Float, Int

import mnist_flax
from mnist_flax.common import intervals, tables
from mnist_flax.common.framings import Framing
from mnist_flax.recognition.networks import DEFAULT_CONSTRUCTOR
from mnist_flax.training import results

_USE_ONNX = """\
With ONNX Runtime, in the folder of this file:

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession('model.onnx')
images = np.zeros((2, SHAPE), np.uint8)  # put your images here
(logits,) = session.run(['logits'], {'images': images})
print(logits.argmax(axis=1))
```

"""

_USE_STABLEHLO = f"""\
With JAX, without this project:

```python
import pathlib

import numpy as np
from jax import export

network = export.deserialize(bytearray(pathlib.Path('model.stablehlo').read_bytes()))
images = np.zeros((2, SHAPE), np.uint8)  # put your images here
logits = np.asarray(network.call(images))
print(logits.argmax(axis=1))
```

A batch for `model.stablehlo` has one image or more. The file was written by jax
{jax.__version__}; JAX promises to read it until six months after the release of that
version.
"""

_MNIST = """\
MNIST, 70,000 images of handwritten digits in 28x28 pixels, by Yann LeCun, Corinna Cortes
and Christopher J.C. Burges, as prepared by TensorFlow Datasets (`{name}`): 60,000 training
and 10,000 test images.
"""

# What pictures become before the networks get them, by `Framing`.
_FORMS = {
    'mnist': (
        'one digit or letter, light on black, in a box of 20x20 pixels, with its centre of '
        'mass in the middle of 28x28{resized}'
    ),
    'pad': (
        'whole pictures, padded with the colour of their edge to the proportions of these '
        'images{resized}'
    ),
    'stretch': 'whole pictures{resized}, whatever their proportions',
}

_LICENCE = """\
The code, and the networks that come with it: Apache-2.0. A network of your own is yours.
"""

_MNIST_LICENCE = """\
MNIST: CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/).
"""

_CITATION = """\
Y. LeCun, L. Bottou, Y. Bengio and P. Haffner: "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 2278–2324, 1998.
"""


def write(
    about: Mapping[str, Any],
    run: int,
    num_parameters: int,
    logits: Float[np.ndarray, 'images classes'],
    labels: Int[np.ndarray, 'images'],
    checks: Mapping[str, str],
    report: str,
    framing: Framing,
) -> str:
    """Writes the card of a network.

    Args:
      about: Its run, as in `Networks`.
      run: Which network of several, counted from 0 without those that diverged.
      num_parameters: The number of its parameters.
      logits: JAX's logits of the test images.
      labels: The labels of the test images.
      checks: What was found out about each exported file, by its name.
      report: The run's own report in a line; may be empty.
      framing: How pictures become its input.
    """
    config, name = about['config'], about['dataset']
    image_shape = about.get('image_shape', (28, 28, 1))
    size = ', '.join(map(str, image_shape))
    use = _USE_ONNX * ('model.onnx' in checks) + _USE_STABLEHLO
    is_mnist = name.startswith('mnist/')
    finite = [of_run for of_run in about['runs'] if not of_run['diverged']]
    sections = {
        'Use': use.replace('SHAPE', size),
        'Data': _describe_data(name, config['dataset'], is_mnist, len(labels)),
        'Recipe': _describe_recipe(config, finite[run]),
        'Metrics': _describe_metrics(logits, labels, checks, report),
        'Limits': _describe_limits(framing, image_shape, is_mnist),
        'Licence': _LICENCE + _MNIST_LICENCE * is_mnist,
        'Citation': _CITATION * is_mnist,
    }
    title = f'# A network that was trained on {name}'
    if len(finite) > 1:
        title += (
            f'\n\nIt is one of the {len(finite)} networks of its run; these files do not '
            'hold their ensemble.'
        )
    described = _describe(
        config['model'], about['class_names'], image_shape, num_parameters
    )
    parts = [f'## {heading}\n\n{text}' for heading, text in sections.items() if text]
    return '\n'.join([f'{title}\n\n{described}', *parts])


def _describe(
    model: Mapping[str, Any],
    names: Sequence[str],
    image_shape: Sequence[int],
    num_parameters: int,
) -> str:
    kind = f'A network of {num_parameters:,} parameters, made by `{model["constructor"]}`'
    if model['constructor'] == DEFAULT_CONSTRUCTOR:
        kind = f'A convolutional network of {num_parameters:,} parameters'
    dtype = model.get('dtype', 'float32')
    rounded = ''
    if dtype != 'float32':
        rounded = f'It was trained in {dtype}, and computes in float32 here. '
    size = ', '.join(map(str, image_shape))
    shape = f'(batch, {len(names)})'
    meaning = f'their softmax gives the probabilities of {", ".join(names)}'
    rows = [
        ['', 'name', 'type', 'shape', 'meaning'],
        ['input', '`images`', 'uint8', f'(batch, {size})', '0 to 255, as in image files'],
        ['output', '`logits`', 'float32', shape, meaning],
    ]
    return (
        f'{kind}, exported by mnist_flax {mnist_flax.__version__}.\n{rounded}It divides '
        f'the pixels by 255 itself.\n\n{tables.to_markdown(rows)}'
    )


def _describe_data(
    name: str, settings: Mapping[str, Any], is_mnist: bool, num_test: int
) -> str:
    text = (
        f'`{name}`, a data set in the form of TensorFlow Datasets. If it is one of theirs, '
        'their catalog\nhas its authors and terms.\n'
    )
    if is_mnist:
        text = _MNIST.format(name=name)
    trained, validation = f'the split `{settings["train_split"]}`', 'the test images'
    if settings['validation'] == 'holdout':
        trained += f' without its last {settings["holdout_size"]:,} images'
        validation = f'those {settings["holdout_size"]:,} images'
    if extra := settings.get('extra'):
        trained += f', and the examples of `{extra["constructor"]}`'
    return (
        f'{text}\nTrained on {trained}; validated after each epoch on {validation};\n'
        f'tested on `{settings["test_split"]}`, {num_test:,} images.\n'
    )


def _describe_limits(framing: Framing, shape: Sequence[int], is_mnist: bool) -> str:
    resized = '' if is_mnist else f', resized to {shape[0]}x{shape[1]}'
    others = 'handwriting, pens and cameras' if framing == 'mnist' else 'pictures'
    measured = '; `scripts/strangers.py` measures a run on other digits' if is_mnist else ''
    limits = [
        'It always answers with one of its classes, and may be confident of it, even if '
        'the image shows something else.',
        'It takes images in the form of those that it was trained on: '
        f'{_FORMS[framing].format(resized=resized)}. In Python, '
        "`mnist_flax.recognition.recognizer.load(workdir).to_input('photo.jpg')` brings a "
        'picture into that form, with the workdir of the run.',
        f'It was measured on the test images above. For other {others} expect lower '
        f'accuracy and confidence{measured}.',
        'It has not been tested for uses in which a mistake harms somebody.',
    ]
    fill = functools.partial(
        textwrap.fill,
        width=88,
        initial_indent='- ',
        subsequent_indent='  ',
        break_long_words=False,
        break_on_hyphens=False,
    )
    return '\n'.join([*map(fill, limits), ''])


def _describe_recipe(config: Mapping[str, Any], of_run: Mapping[str, Any]) -> str:
    shown = {k: v for k, v in of_run.items() if k not in ('diverged', 'changes')}
    which = ', '.join(f'{key} {value}' for key, value in shown.items())
    changes = ''.join(
        f'Changed during training: {change}\n' for change in of_run['changes']
    )
    recipe = {key: value for key, value in config.items() if key != 'checkpoint'}
    # Without the folder of the data, which is private.
    recipe['dataset'] = {k: v for k, v in recipe['dataset'].items() if k != 'data_dir'}
    return (
        f'The network of {which}. `configs/default.py` says what each field means.\n'
        f'{changes}\n```\n{tables.to_text(recipe)}```\n'
    )


def _describe_metrics(
    logits: Float[np.ndarray, 'images classes'],
    labels: Int[np.ndarray, 'images'],
    checks: Mapping[str, str],
    report: str,
) -> str:
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    numbers = results.test(probabilities, labels)
    correct = round(numbers['test_accuracy'] * len(labels))
    low, high = intervals.wilson_interval(correct, len(labels))
    rows = [
        ['test accuracy, %', '95 % interval', 'test loss, nats', 'calibration error, %'],
        [
            f'{100 * numbers["test_accuracy"]:.2f}',
            f'{100 * low:.2f} to {100 * high:.2f}',
            f'{numbers["test_loss"]:.4f}',
            f'{100 * numbers["test_calibration_error"]:.2f}',
        ],
    ]
    of_files = ''.join(f'- `{name}`: {check}\n' for name, check in checks.items())
    reported = f'The run itself reported: {report}\n\n' if report else ''
    return (
        f'This network, computed by JAX, on all {len(labels):,} test images (the interval '
        f"is Wilson's):\n\n{tables.to_markdown(rows)}\n{reported}The exported files, on "
        f'the same images:\n\n{of_files}'
    )
