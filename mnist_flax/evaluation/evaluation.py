"""Measurements of a finished run: on test images, on worse ones, on other things."""

from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jaxtyping import Float

from mnist_flax.common import intervals
from mnist_flax.common.constructors import construct
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.switches import in_our_settings
from mnist_flax.data import balance, datasets
from mnist_flax.data.builders import Fields
from mnist_flax.data.shards import Examples
from mnist_flax.evaluation import misses, scores
from mnist_flax.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt, list_amounts
from mnist_flax.recognition.networks import Networks, mean_probabilities
from mnist_flax.training import metrics

_FLAGS = Fields('--dataset', '--data_dir', '--split')
_OOD_FLAGS = Fields('--ood_dataset', '--ood_data_dir', '--ood_split')

# Seed of the corruptions, which are the same for all networks.
_SEED = 0


class Evaluation(NamedTuple):
    """What was measured, and on which images."""

    numbers: dict[str, Any]  # the contents of evaluation.json
    split: datasets.Split
    probabilities: Float[np.ndarray, 'images classes']


@in_our_settings()
def evaluate(
    networks: Networks,
    dataset: str,
    data_dir: str,
    split: str,
    ood_dataset: str,
    ood_data_dir: str,
    ood_split: str,
    with_corruptions: bool,
) -> Evaluation:
    """Measures a network, or the ensemble of several.

    Args:
      networks: What to measure.
      dataset: TFDS name of the data set to measure on; that of the run if empty.
      data_dir: TFDS directory that holds it, as in `datasets.load`.
      split: In TFDS's syntax; if empty that of the run, or ``'test'`` of another data set.
      ood_dataset: TFDS name of a data set without any of the classes; none if empty.
      ood_data_dir: TFDS directory that holds it.
      ood_split: In TFDS's syntax; ``'test'`` if there is none.
      with_corruptions: Whether to measure on worse images too.

    Raises:
      UserError: A data set cannot be loaded, or its classes are not as they should be.
    """
    of_run = _read_dataset_config(networks)
    require(
        bool(ood_dataset) or (not ood_data_dir and ood_split == 'test'),
        '--ood_dataset: it is missing, while --ood_data_dir or --ood_split is set; name '
        'the data set',
    )
    moved_to = data_dir if dataset in ('', of_run['name']) else ''
    if not dataset:
        dataset, data_dir = of_run['name'], data_dir or of_run['data_dir']
        split = split or of_run['test_split']
    chosen = datasets.load_split(dataset, data_dir, split or 'test', _FLAGS)
    require(
        chosen.class_names == networks.class_names,
        f'--dataset: {chosen.full_name} has the classes {", ".join(chosen.class_names)}; '
        f'it should have those of the network, {", ".join(networks.class_names)}',
    )
    _check_shape('--dataset', chosen, networks)
    outsiders = None
    if ood_dataset:
        outsiders = datasets.load_split(ood_dataset, ood_data_dir, ood_split, _OOD_FLAGS)
        require(
            outsiders.class_names != networks.class_names,
            f'--ood_dataset: {outsiders.full_name} has the classes of the network; name a '
            'data set with none of them',
        )
        _check_shape('--ood_dataset', outsiders, networks)
    logits = networks.logits(chosen.examples.images)
    probabilities = mean_probabilities(logits)
    held_out, seen = _compare_with_training(of_run, chosen, moved_to)
    numbers = {
        'dataset': chosen.full_name,
        'split': split or 'test',
        'images': len(probabilities),
        'networks': networks.num_networks,
        **measure(probabilities, chosen.examples),
        **(misses.count(logits, chosen.examples.labels) if len(logits) > 1 else {}),
        'other_ways_to_show_them': _show_otherwise(networks, probabilities, chosen),
        **seen,
        'extra_training_examples': bool(of_run.get('extra')),
        'temperature_scaling': _scale_temperature(
            networks, held_out, probabilities, chosen.examples
        ),
    }
    if with_corruptions:
        numbers['corruptions'] = measure_corruptions(networks, chosen.examples)
    if outsiders:
        numbers['out_of_distribution'] = _compare(networks, probabilities, outsiders)
    return Evaluation(numbers, chosen, probabilities)


def _check_shape(flag: str, split: datasets.Split, networks: Networks) -> None:
    found = split.examples.images.shape[1:]
    require(
        found == networks.image_shape,
        f'{flag}: {split.full_name} has images of shape {found}; the network takes '
        f'{networks.image_shape}',
    )


def measure(
    probabilities: Float[np.ndarray, 'images classes'], examples: Examples
) -> dict[str, Any]:
    """Computes all numbers that follow from predictions; losses are in nats."""
    labels = examples.labels
    num_classes = probabilities.shape[1]
    counts = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), num_classes)
    of_classes = scores.class_scores(counts)
    losses = scores.true_class_losses(probabilities, labels)
    brier = scores.brier_scores(probabilities, labels)
    return {
        **_measure_accuracy(probabilities, examples),
        'balanced_accuracy': balance.balanced_accuracy(
            probabilities.argmax(axis=1), labels
        ),
        'loss': float(losses.mean()),
        'loss_95_percent_interval': scores.mean_interval(losses),
        'brier_score': float(brier.mean()),
        'brier_score_95_percent_interval': scores.mean_interval(brier),
        'calibration_error': metrics.calibration_error(probabilities, labels),
        'classes': {name: of.tolist() for name, of in of_classes._asdict().items()},
        'confusion_matrix': counts.tolist(),
    }


def describe_other_ways(numbers: dict[str, Any]) -> str:
    """Says where the images are recognised better if they are shown otherwise."""
    return '; '.join(
        f'the same images {how}: {accuracy:.2%}'
        for how, accuracy in numbers['other_ways_to_show_them'].items()
    )


def _measure_accuracy(
    probabilities: Float[np.ndarray, 'images classes'], examples: Examples
) -> dict[str, Any]:
    number = len(examples.labels)
    correct = int((probabilities.argmax(axis=1) == examples.labels).sum())
    return {
        'accuracy': correct / number,
        'accuracy_95_percent_interval': intervals.wilson_interval(correct, number),
    }


def _show_otherwise(
    networks: Networks,
    probabilities: Float[np.ndarray, 'images classes'],
    chosen: datasets.Split,
) -> dict[str, float]:
    """Measures the accuracy on the images shown otherwise, where it is clearly better.

    Then the network knows them lying on their side, or with light and dark exchanged.
    """
    images, labels = chosen.examples
    _, most = _measure_accuracy(probabilities, chosen.examples)[
        'accuracy_95_percent_interval'
    ]
    shown = {'inverted': 255 - images}
    if images.shape[1] == images.shape[2]:
        shown['transposed'] = np.ascontiguousarray(images.swapaxes(1, 2))
    better = {}
    for how, changed in shown.items():
        measured = _measure_accuracy(
            networks.probabilities(changed), Examples(changed, labels)
        )
        if measured['accuracy_95_percent_interval'][0] > most:
            better[how] = measured['accuracy']
    return better


def _read_dataset_config(networks: Networks) -> dict[str, Any]:
    """Returns the run's ``config.dataset``."""
    try:
        of_run = dict(networks.about['config']['dataset'])
        for field in ('name', 'data_dir', 'test_split', 'validation'):
            of_run[field] = str(of_run[field])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'--workdir: the run in {networks.workdir} does not name its data set'
        ) from error
    return of_run


def _compare_with_training(
    of_run: dict[str, Any], chosen: datasets.Split, moved_to: str
) -> tuple[Examples | str, dict[str, int | None]]:
    """Loads the run's held-out images, or says why not, and counts those it has seen.

    Where its data set is no longer in its own directory, it may be in ``moved_to``. The
    numbers are None if it is in neither.

    Extra training examples are not loaded: a run from elsewhere could name any function to
    make them.
    """
    try:
        fields = ml_collections.ConfigDict({**of_run, 'extra': None})
        of_run_data = construct(datasets.load, fields, 'config.dataset')
    except UserError as error:
        if moved_to:
            return _compare_with_training({**of_run, 'data_dir': moved_to}, chosen, '')
        reason = f'the data of the run cannot be loaded ({error})'
        return reason, {'images_seen_in_training': None, 'images_held_out': None}
    held_out = of_run_data.validation
    was_held_out = of_run['validation'] == 'holdout'
    seen: dict[str, int | None] = {
        'images_seen_in_training': _count_shared(of_run_data.train, chosen.examples),
        'images_held_out': _count_shared(held_out, chosen.examples) if was_held_out else 0,
    }
    if not was_held_out:
        return (
            'the run has not held out any images, as it does with '
            '--config.dataset.validation=holdout'
        ), seen
    return held_out, seen


def _count_shared(known: Examples, examples: Examples) -> int:
    images = {image.tobytes() for image in known.images}
    return sum(image.tobytes() in images for image in examples.images)


def _scale_temperature(
    networks: Networks,
    held_out: Examples | str,
    probabilities: Float[np.ndarray, 'images classes'],
    examples: Examples,
) -> dict[str, Any]:
    """Fits a temperature on the images that the run has held out, and measures with it."""
    if isinstance(held_out, str):
        return {'not_fitted': held_out}
    temperature = scores.fit_temperature(
        networks.probabilities(held_out.images), held_out.labels
    )
    scaled = scores.apply_temperature(probabilities, temperature)
    return {
        'temperature': temperature,
        'held_out_images': len(held_out.labels),
        'loss': float(scores.true_class_losses(scaled, examples.labels).mean()),
        'brier_score': float(scores.brier_scores(scaled, examples.labels).mean()),
        'calibration_error': metrics.calibration_error(scaled, examples.labels),
    }


def measure_corruptions(
    networks: Networks, examples: Examples
) -> dict[str, list[dict[str, Any]]]:
    """Measures the accuracy on worse images, by corruption and severity."""
    root = jax.random.key(_SEED)
    measured: dict[str, list[dict[str, Any]]] = {}
    size = examples.images.shape[1:3]
    for number, name in enumerate(CORRUPTIONS):
        key = jax.random.fold_in(root, number)
        measured[name] = []
        for severity, amount in zip(SEVERITIES, list_amounts(name, size), strict=True):
            severity_key = jax.random.fold_in(key, severity)
            worse = corrupt(name, severity, severity_key, examples.images)
            accuracy = _measure_accuracy(networks.probabilities(worse), examples)
            measured[name].append({'amount': amount, **accuracy})
    return measured


def _compare(
    networks: Networks,
    probabilities: Float[np.ndarray, 'images classes'],
    outsiders: datasets.Split,
) -> dict[str, Any]:
    """Measures whether the network is less sure of images of none of its classes.

    By the largest probability, the baseline of Hendrycks and Gimpel 2017, arXiv 1610.02136.
    """
    outside = networks.probabilities(outsiders.examples.images)
    area, interval = scores.area_under_roc(probabilities.max(axis=1), outside.max(axis=1))
    return {
        'dataset': outsiders.full_name,
        'images': len(outside),
        'area_under_roc': area,
        'area_under_roc_95_percent_interval': interval,
        'mean_confidence': float(outside.max(axis=1).mean()),
    }
