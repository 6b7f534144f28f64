"""Which images several networks get wrong: all of them, or only some."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from mnist_flax.common import tables
from mnist_flax.data.shards import Examples
from mnist_flax.reporting import figures

# Images in the figure; more would be higher than a screen.
_MOST = 48


def count(
    logits: Float[np.ndarray, 'networks images classes'], labels: Int[np.ndarray, 'images']
) -> dict[str, Any]:
    """Counts how many networks get each image wrong.

    Returns:
      In ``images_by_wrong_networks`` how many images no network, one, ... all get wrong,
      and in ``wrong_by_all`` each image of the last kind: its number, its class, and how
      many networks answer what.
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
                'class': int(labels[image]),
                'answers': np.bincount(
                    answers[:, image], minlength=logits.shape[-1]
                ).tolist(),
            }
            for image in np.flatnonzero(num_wrong == len(answers))
        ],
    }


def to_markdown(numbers: dict[str, Any], class_names: Sequence[str]) -> str:
    """Tabulates what `count` found, with the figure of `plot` as ``wrong_by_all.png``."""
    counts = numbers['images_by_wrong_networks']
    text = tables.to_markdown(
        [
            ['networks that are wrong', *map(str, range(len(counts)))],
            ['images', *(f'{of:,}' for of in counts)],
        ]
    )
    if not numbers['wrong_by_all']:
        return text
    rows = [['image', 'class', 'answers (networks)']]
    for found in numbers['wrong_by_all']:
        label = class_names[found['class']]
        rows.append([str(found['image']), label, _name_answers(found, class_names)])
    return (
        f'{text}\nImages that all networks get wrong, by their number in the split, from '
        f'0:\n\n{tables.to_markdown(rows)}\n![Wrong by all](wrong_by_all.png)'
    )


def plot(numbers: dict[str, Any], examples: Examples, class_names: Sequence[str]) -> Figure:
    """Draws the images that all networks get wrong, with the answers."""
    found = numbers['wrong_by_all'][:_MOST]
    class_names = figures.to_labels(class_names)
    title = f'{len(numbers["wrong_by_all"])} images that all networks get wrong'
    if len(found) < len(numbers['wrong_by_all']):
        title += f', the first {len(found)}'
    return figures.captioned_images(
        [examples.images[of['image']] for of in found],
        [
            f'{_name_answers(of, class_names)}\n(true {class_names[of["class"]]}; image '
            f'{of["image"]})'
            for of in found
        ],
        title,
    )


def _name_answers(found: dict[str, Any], class_names: Sequence[str]) -> str:
    """Names the answers to an image, the most frequent first, such as ``9 (5), 4 (1)``."""
    answers = found['answers']
    order = sorted(range(len(answers)), key=lambda name: -answers[name])
    return ', '.join(f'{class_names[i]} ({answers[i]})' for i in order if answers[i])
