"""Which images several networks get wrong: all of them, or only some."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from mnist_flax.common import tables
from mnist_flax.data.shards import Examples
from mnist_flax.reporting import figures

# Images in the table and the figure; more would be higher than a screen.
_MOST = 48


def count(
    logits: Float[np.ndarray, 'networks images classes'], labels: Int[np.ndarray, 'images']
) -> dict[str, Any]:
    """Counts how many networks get each image wrong.

    Returns:
      ``images_by_wrong_networks``: how many images no network, one, ... all get wrong;
      ``wrong_by_all``: for each image that all get wrong its number in the split, its label
      and the networks' answers.
    """
    answers = logits.argmax(axis=-1)
    num_wrong = (answers != labels).sum(axis=0)
    return {
        'images_by_wrong_networks': np.bincount(
            num_wrong, minlength=len(answers) + 1
        ).tolist(),
        'wrong_by_all': [
            {
                'image': int(image),
                'label': int(labels[image]),
                'answers': answers[:, image].tolist(),
            }
            for image in np.flatnonzero(num_wrong == len(answers))
        ],
    }


def to_markdown(numbers: dict[str, Any], class_names: Sequence[str]) -> str:
    """Tabulates what `count` found, with the figure of `plot` as ``wrong_by_all.png``."""
    images = numbers['images_by_wrong_networks']
    text = tables.to_markdown(
        [
            ['networks that are wrong', *map(str, range(len(images)))],
            ['images', *(f'{count:,}' for count in images)],
        ]
    )
    if not numbers['wrong_by_all']:
        return text
    shown, title = _choose(numbers)
    rows = [['image', 'label', 'answers (networks)']]
    for found in shown:
        counts = collections.Counter(found['answers']).most_common()
        answers = ', '.join(f'{class_names[i]} ({number})' for i, number in counts)
        rows.append([str(found['image']), class_names[found['label']], answers])
    return (
        f'{text}\n{title}, by their number in the split, from 0:\n\n'
        f'{tables.to_markdown(rows)}\n![Wrong by all](wrong_by_all.png)'
    )


def plot(numbers: dict[str, Any], examples: Examples, class_names: Sequence[str]) -> Figure:
    """Draws the images that all networks get wrong, with the most frequent answer."""
    shown, title = _choose(numbers)
    class_names = figures.to_labels(class_names)
    captions = []
    for found in shown:
        (answer, number), *_ = collections.Counter(found['answers']).most_common(1)
        captions.append(
            f'{found["image"]}: {class_names[found["label"]]}\n'
            f'✗ {class_names[answer]} ({number})'
        )
    return figures.captioned_images(
        [examples.images[of['image']] for of in shown],
        captions,
        f'{title}: number and label; most frequent answer (networks)',
    )


def _choose(numbers: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Returns the images to show and what they are."""
    found = numbers['wrong_by_all']
    if len(found) > _MOST:
        return found[:_MOST], f'The first {_MOST} of {len(found):,} images that all miss'
    return found, 'Images that all networks get wrong'
