"""What a user of an exported network needs to know, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import scipy.special
from jaxtyping import Float, Int

import mnist_flax
from mnist_flax.common import intervals, tables
from mnist_flax.recognition.networks import DEFAULT_CONSTRUCTOR
from mnist_flax.training import results

_USE_ONNX = """\
With ONNX Runtime, in the folder of this file:

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession('model.onnx')
images = np.zeros((2, 28, 28, 1), np.uint8)  # put your images here
(logits,) = session.run(['logits'], {'images': images})
print(logits.argmax(axis=1))
```

"""

_USE_STABLEHLO = f"""\
With JAX, and nothing of this project:

```python
import pathlib

import numpy as np
from jax import export

network = export.deserialize(bytearray(pathlib.Path('model.stablehlo').read_bytes()))
images = np.zeros((2, 28, 28, 1), np.uint8)  # put your images here
logits = np.asarray(network.call(images))
print(logits.argmax(axis=1))
```

A batch of `model.stablehlo` has one image or more. The file was written by jax
{jax.__version__}; JAX promises to read it for six months after the release of that version.
"""

_MNIST = """\
MNIST, 70,000 images of handwritten digits in 28x28 pixels, by Yann LeCun, Corinna Cortes
and Christopher J.C. Burges, in the form that TensorFlow Datasets prepared (`{name}`):
60,000 training and 10,000 test images.
"""

_LIMITS = """\
- It answers with one of its classes, whatever it is shown: for a letter, several digits or
  noise too, and it may be sure of it.
- It takes images in the form of those that it was trained on. Of MNIST that is one digit,
  light on black, in a box of 20x20 pixels, its centre of mass in the middle. The function
  `to_mnist_format('photo.jpg')` of `mnist_flax.recognition.recognizer` brings a picture of
  one digit into that form.
- It was measured on the test images above. Of other handwriting, pens and cameras expect
  less, in accuracy and in confidence; `scripts/strangers.py` measures a run on such.
- It has not been tested for uses in which a mistake harms somebody.
"""

_CITATION = """\
Y. LeCun, L. Bottou, Y. Bengio and P. Haffner: "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 2278–2324, 1998.
"""


def write(
    about: Mapping[str, Any],
    of_run: Mapping[str, Any],
    num_parameters: int,
    logits: Float[np.ndarray, 'images classes'],
    labels: Int[np.ndarray, 'images'],
    checks: Mapping[str, str],
    report: str,
) -> str:
    """Writes the card of a network.

    Args:
      about: The run, as its checkpoint has it.
      of_run: The entry of the network in it, such as its seed.
      num_parameters: How many it has.
      logits: What JAX says of the test images.
      labels: What they are.
      checks: What was found out about each exported file, by its name.
      report: The run's own report in a line; may be empty.
    """
    config, name = about['config'], about['dataset']
    is_mnist = name.startswith('mnist/')
    sections = {
        'Use': _USE_ONNX * ('model.onnx' in checks) + _USE_STABLEHLO,
        'Data': _describe_data(name, config['dataset'], is_mnist, len(labels)),
        'Recipe': _describe_recipe(config, of_run),
        'Metrics': _describe_metrics(logits, labels, checks, report),
        'Limits': _LIMITS,
        'Licence': 'The code, and the networks that come with it: Apache-2.0. A network of '
        'your own is\nyours.'
        + is_mnist
        * ' MNIST: CC BY-SA 3.0\n(https://creativecommons.org/licenses/by-sa/3.0/).'
        + '\n',
        'Citation': _CITATION * is_mnist,
    }
    parts = [f'## {title}\n\n{text}' for title, text in sections.items() if text]
    title = f'# A network that was trained on {name}'
    number = sum(not run['diverged'] for run in about['runs'])
    if number > 1:
        title += f'\n\nOne of the {number} of its run, whose mean is not in these files.'
    described = _describe(config['model'], about['class_names'], num_parameters)
    return '\n'.join([f'{title}\n\n{described}', *parts])


def _describe(model: Mapping[str, Any], names: Sequence[str], num_parameters: int) -> str:
    kind = f'A network of {num_parameters:,} parameters, made by `{model["constructor"]}`'
    if model['constructor'] == DEFAULT_CONSTRUCTOR:
        kind = f'A convolutional network of {num_parameters:,} parameters'
    dtype = model.get('dtype', 'float32')
    rounded = ''
    if dtype != 'float32':
        rounded = f'It was trained in {dtype}, and computes in float32 here. '
    shape, classes = f'(batch, {len(names)})', ', '.join(names)
    rows = [
        ['', 'name', 'type', 'shape', 'meaning'],
        ['input', '`images`', 'uint8', '(batch, 28, 28, 1)', '0 to 255, as in image files'],
        ['output', '`logits`', 'float32', shape, f'whose softmax is of {classes}'],
    ]
    return (
        f'{kind}, exported by mnist_flax {mnist_flax.__version__}.\n{rounded}It divides '
        f'the pixels by 255 itself.\n\n{tables.to_markdown(rows)}'
    )


def _describe_data(
    name: str, settings: Mapping[str, Any], is_mnist: bool, num_test: int
) -> str:
    text = f'`{name}` of TensorFlow Datasets, whose catalog names its authors and terms.\n'
    if is_mnist:
        text = _MNIST.format(name=name)
    trained, validation = f'the split `{settings["train_split"]}`', 'the test images'
    if settings['validation'] == 'holdout':
        trained += f' without its last {settings["holdout_size"]:,} images'
        validation = 'those'
    if extra := settings.get('extra'):
        trained += f', and the examples of `{extra["constructor"]}`'
    return (
        f'{text}\nTrained on {trained}; validated after each epoch on {validation};\n'
        f'tested on `{settings["test_split"]}`, {num_test:,} images.\n'
    )


def _describe_recipe(config: Mapping[str, Any], of_run: Mapping[str, Any]) -> str:
    told = {k: v for k, v in of_run.items() if k not in ('diverged', 'changes')}
    which = ', '.join(f'{key} {value}' for key, value in told.items())
    changes = ''.join(f'Changed on the way: {change}\n' for change in of_run['changes'])
    recipe = {key: value for key, value in config.items() if key != 'checkpoint'}
    # The folder where the data lies is nobody's business.
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
        f'Of this network, by JAX, on all {len(labels):,} test images (the interval is '
        f"Wilson's):\n\n{tables.to_markdown(rows)}\n{reported}The files say the same of "
        f'these images:\n\n{of_files}'
    )
