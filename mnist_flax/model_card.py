"""What a user of an exported network needs to know, as Markdown."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

import mnist_flax
from mnist_flax import metrics, results, tables
from mnist_flax.inference import OURS

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

_USE_STABLEHLO = """\
With JAX, and nothing else:

```python
import pathlib

import numpy as np
from jax import export

network = export.deserialize(bytearray(pathlib.Path('model.stablehlo').read_bytes()))
images = np.zeros((2, 28, 28, 1), np.uint8)  # put your images here
logits = np.asarray(network.call(images))
print(logits.argmax(axis=1))
```

`np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)` are the probabilities. A batch of `model.stablehlo` has one
image or more. It was written by jax {jax}; JAX promises to read such a file for six months after the release that wrote
it.
"""

_MNIST = """\
MNIST, {images} of handwritten digits in 28x28 pixels, by Yann LeCun, Corinna Cortes and Christopher J.C. Burges,
as prepared by TensorFlow Datasets (`{name}`). Its 60,000 training and 10,000 test images are of different writers,
employees of the American Census Bureau and high-school students.
"""

_LIMITS = """\
- It answers with one of its classes, whatever it is shown: for a letter, several digits or noise too, and often with
  much confidence.
- It was made for images in the form of its training images. Of MNIST that is one digit, light on black, in a box of
  20x20 pixels whose centre of mass is in the middle. `mnist_flax.inference.see('photo.jpg')` brings a picture of one
  digit into that form.
- Its confidence was measured on the test images below only; on other handwriting, pens and cameras it errs more often
  than it says.
- It knows the digits as its training images show them. Other ways to write them, and other numerals, may be missing.
- It has not been tested for uses in which a mistake harms somebody.
"""

_LICENCE = """\
Code and network: Apache-2.0. MNIST is distributed under CC BY-SA 3.0
(https://creativecommons.org/licenses/by-sa/3.0/).
"""

_CITATION = """\
Y. LeCun, L. Bottou, Y. Bengio and P. Haffner: "Gradient-based learning applied to document recognition", Proceedings
of the IEEE 86(11), 2278–2324, 1998.
"""


def write(
    about: Mapping[str, Any],
    trained_as: Mapping[str, Any],
    variables: Mapping[str, Any],
    logits: Float[np.ndarray, 'images classes'],
    labels: Int[np.ndarray, 'images'],
    checks: Mapping[str, str],
    report: str,
) -> str:
    """Writes the card of a network.

    Args:
      about: The run, as its checkpoint has it.
      trained_as: The seed, and what else tells the network from the run's others.
      variables: The parameters of the network.
      logits: What JAX says of the test images.
      labels: What they are.
      checks: What was found out about each exported file.
      report: The run's own report in a line; may be empty.
    """
    config, names = about['config'], about['class_names']
    is_mnist = str(about['dataset']).startswith('mnist/')
    size = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
    uses = _USE_STABLEHLO.format(jax=jax.__version__)
    if 'model.onnx' in checks:
        uses = _USE_ONNX + uses
    sections = {
        f'A network for {about["dataset"]}': _describe(config['model'], names, size),
        'Use': uses,
        'Data': _describe_data(about, is_mnist, len(labels)),
        'Recipe': _describe_recipe(config, trained_as),
        'Metrics': _describe_metrics(logits, labels, checks, report),
        'Limits': _LIMITS,
        'Licence': _LICENCE
        if is_mnist
        else 'Code: Apache-2.0. The network follows the terms of its data set too.\n',
    }
    if is_mnist:
        sections['Citation'] = _CITATION
    parts = [f'## {title}\n\n{text}' for title, text in sections.items()]
    return '\n'.join(parts).removeprefix('#')


def _describe(model: Mapping[str, Any], names: list[str], size: int) -> str:
    ours = model['constructor'] == OURS
    kind = (
        f'A convolutional network of {size:,} parameters'
        if ours
        else f'A network of {size:,} parameters, made by `{model["constructor"]}`'
    )
    rounded = '' if model.get('dtype', 'float32') == 'float32' else (
        f' It was trained in {model["dtype"]} and is exported in float32.'
    )  # fmt: skip
    rows = [
        ['', 'name', 'type', 'shape', 'meaning'],
        ['input', '`images`', 'uint8', '(batch, 28, 28, 1)', '0 to 255; any batch'],
        ['output', '`logits`', 'float32', f'(batch, {len(names)})', ', '.join(names)],
    ]
    return (
        f'{kind}, exported by mnist_flax {mnist_flax.__version__}.{rounded} It divides the '
        f'pixels by 255 itself.\n\n{tables.to_markdown(rows)}'
    )


def _describe_data(about: Mapping[str, Any], is_mnist: bool, num_test: int) -> str:
    split = about['config']['dataset']
    text = f"TensorFlow Datasets' `{about['dataset']}`; its page there names the authors.\n"
    if is_mnist:
        text = _MNIST.format(images='70,000 images', name=about['dataset'])
    held_out = 'after each epoch it was validated on the test images'
    if split['validation'] == 'holdout':
        held_out = f'the last {split["holdout_size"]:,} of them were held out'
    return (
        f'{text}\nTrained on the split `{split["train_split"]}` ({held_out}), tested on '
        f'`{split["test_split"]}`, {num_test:,} images.\n'
    )


def _describe_recipe(config: Mapping[str, Any], trained_as: Mapping[str, Any]) -> str:
    told = {k: v for k, v in trained_as.items() if k not in ('diverged', 'changes')}
    which = ', '.join(f'{key} {value}' for key, value in told.items())
    changes = ''.join(
        f'\nChanged while it was trained: {of}\n' for of in trained_as['changes']
    )
    recipe = {key: value for key, value in config.items() if key != 'checkpoint'}
    return (
        f'The network of {which}. `configs/default.py` says what each field means.\n'
        f'{changes}\n```\n{tables.to_text(recipe)}```\n'
    )


def _describe_metrics(logits, labels, checks, report) -> str:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    numbers = results.test(shifted / shifted.sum(axis=1, keepdims=True), labels)
    correct = round(numbers['test_accuracy'] * len(labels))
    low, high = metrics.wilson_interval(correct, len(labels))
    rows = [
        [
            'test accuracy, %',
            '95 % interval (Wilson)',
            'loss, nats',
            'calibration error, %',
        ],
        [
            f'{100 * numbers["test_accuracy"]:.2f}',
            f'{100 * low:.2f} to {100 * high:.2f}',
            f'{numbers["test_loss"]:.4f}',
            f'{100 * numbers["test_calibration_error"]:.2f}',
        ],
    ]
    of_files = ''.join(f'- `{name}`: {check}\n' for name, check in checks.items())
    of_run = f'\nThe report of the run: {report}\n' if report else ''
    return (
        f'Of this network, on all {len(labels):,} test images:\n\n'
        f'{tables.to_markdown(rows)}{of_run}\n'
        f"The files were checked against JAX's logits of these images:\n\n{of_files}"
    )
