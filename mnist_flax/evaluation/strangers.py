"""Measurement of how many digits of other people a network recognises in pictures."""

import contextlib
import io

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from mnist_flax.common import intervals, tables
from mnist_flax.common.errors import UserError
from mnist_flax.reading.reader import Reader

SIDES = (8, 16, 32, 100, 300, 900)  # pixels of a digit

_WAYS = (Image.Resampling.NEAREST, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
_PAGES = (1.0, 1.5, 3.0)  # sides of the picture, in those of the digit

# So many of the digits were looked at while the code was written, from the first on.
SEEN = 897


def draw(pixels: Float[np.ndarray, '8 8'], number: int) -> bytes:
    """Makes a PNG of a digit: of random size and place, dark on light or the reverse.

    Args:
      pixels: The digit, from 0 to 16, as in scikit-learn's ``load_digits``.
      number: Seed of all that is random; the sizes are those of `SIDES` in turn.
    """
    rng = np.random.default_rng(number)
    side = SIDES[number % len(SIDES)]
    digit = Image.fromarray(np.round(pixels / 16 * 255).astype(np.uint8))
    digit = digit.resize((side, side), _WAYS[rng.integers(3)])
    largest = int(side * _PAGES[rng.integers(3)])
    width, height = (int(rng.integers(side, largest + 1)) for _ in range(2))
    page = Image.new('L', (width, height), 0)
    corner = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    page.paste(digit, corner)
    ink = 0.05 + 0.9 * np.asarray(page) / 255
    if rng.integers(2):
        ink = 1 - ink
    buffer = io.BytesIO()
    Image.fromarray(np.round(255 * ink).astype(np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def measure(
    reader: Reader,
    images: Float[np.ndarray, 'digits 8 8'],
    labels: Int[np.ndarray, 'digits'],
) -> str:
    """Tabulates how many of the digits are recognised, as Markdown.

    Args:
      reader: Reads them.
      images: The digits, in the order of scikit-learn's ``load_digits``.
      labels: Their classes.

    Returns:
      A row for all, for those that the code was written with, for the others, and for each
      size; of several networks also how many each of them recognises by itself. A picture
      that is refused counts as a mistake.
    """
    networks = reader.recognizer.networks
    correct = np.full(len(labels), False)
    found, inputs = [], []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        with contextlib.suppress(UserError):
            reading = reader.read_one(draw(image, number), 'picture')
            correct[number] = reading.text == reader.recognizer.class_names[label]
            inputs.append(
                reader.recognizer.from_mnist_format(reading.digits[0].prediction.image)
            )
            found.append(number)
    framed = np.array(inputs, np.uint8).reshape(-1, *networks.image_shape)
    numbers = np.arange(len(labels))
    groups = {
        'all': numbers >= 0,
        f'the first {SEEN}, with which the code was written': numbers < SEEN,
        'the others': numbers >= SEEN,
        **{f'{of} pixels': numbers % len(SIDES) == i for i, of in enumerate(SIDES)},
    }
    rows = [['digits', 'recognised, %', '95 % interval', 'number']]
    for name, chosen in groups.items():
        if not chosen.any():
            continue
        number, right = int(chosen.sum()), int(correct[chosen].sum())
        low, high = intervals.wilson_interval(right, number)
        rows.append(
            [name, f'{right / number:.1%}'[:-1], f'{low:.1%} to {high:.1%}', f'{number:,}']
        )
    table = tables.to_markdown(rows)
    if networks.num_networks == 1:
        return table
    of_each = networks.logits(framed).argmax(axis=-1) == labels[found]
    alone = intervals.summarize([100 * hits.sum() / len(labels) for hits in of_each])
    return (
        f'{table}\nEach of the {alone.n} networks by itself recognises {alone.mean:.1f} ± '
        f'{alone.sd:.1f} % of all (mean ± sd).\n'
    )
