"""The report of an evaluation: report.md, its figures and evaluation.json."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mnist_flax.checkpointing import workdirs
from mnist_flax.common import intervals, tables
from mnist_flax.evaluation import misses
from mnist_flax.evaluation.corruptions import CORRUPTIONS, SEVERITIES
from mnist_flax.evaluation.evaluation import Evaluation, describe_other_ways
from mnist_flax.reporting import figures, reports
from mnist_flax.reporting.style import in_our_style
from mnist_flax.training import devices, metrics


def write(folder: pathlib.Path, evaluation: Evaluation, name: str) -> list[str]:
    """Writes the report of an evaluation; no file appears before all are complete.

    Args:
      folder: Where to write it.
      evaluation: What was measured.
      name: What to call the network.

    Returns:
      The names of the files.

    Raises:
      UserError: A file cannot be written.
    """
    numbers, split, probabilities = evaluation
    numbers = {**numbers, **reports.environment(devices.make_mesh(1, 1))}
    examples, classes = split.examples, split.class_names
    counts = np.array(numbers['confusion_matrix'])
    plots = {
        'reliability.png': reliability_diagram(probabilities, examples.labels),
        'confusion_matrix.png': figures.confusion_matrix(
            counts, classes, f'{counts.sum():,} images of {split.full_name}'
        ),
        'mistakes.png': figures.sample_predictions(
            examples, probabilities, classes, split.full_name, 'images'
        ),
    }
    if numbers['networks'] > 1 and numbers['wrong_by_all']:
        plots['wrong_by_all.png'] = misses.plot(numbers, examples, classes)
    if 'corruptions' in numbers:
        plots['corruptions.png'] = corruption_curves(numbers)
    contents = {file: figures.to_png(plot) for file, plot in plots.items()}
    contents['evaluation.json'] = tables.to_json(_without_nan(numbers)).encode()
    contents['report.md'] = to_markdown(numbers, classes, name).encode()
    workdirs.write(folder, contents, '--report_dir')
    return sorted(contents)


def _without_nan(tree: Any) -> Any:
    """Replaces nan, which JSON does not have, by None."""
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and np.isnan(tree) else tree


def to_markdown(numbers: dict[str, Any], class_names: Sequence[str], name: str) -> str:
    """Formats the report.

    Args:
      numbers: The contents of ``evaluation.json``.
      class_names: Names of the classes.
      name: What to call the network.
    """
    networks = numbers['networks']
    ensemble = f' (the mean of {networks} networks)' if networks > 1 else ''
    parts = [
        f'# {name}{ensemble} on {numbers["dataset"]}, {numbers["split"]!r}',
        f'{numbers["images"]:,} images. The 95 % intervals say how much other images of '
        "the same kind would change: Wilson's for accuracies, the normal one for losses, "
        "Hanley and McNeil's for the area under the curve.",
        _describe_training(numbers),
        _overall_table(numbers),
        _describe_temperature(numbers),
        '![Reliability](reliability.png)',
        '## Classes',
        _class_table(numbers, class_names),
        '![Confusion matrix](confusion_matrix.png)',
        '## The first images, and the mistakes with most confidence',
        '![Mistakes](mistakes.png)',
    ]
    if networks > 1:
        parts += [
            '## How many networks are wrong',
            misses.to_markdown(numbers, class_names),
        ]
    if 'corruptions' in numbers:
        parts += [
            '## Worse images',
            'Accuracy in per cent on the same images, made worse. Each interval is at most '
            f'{_widest(numbers):.1f} points either way.',
            _corruption_table(numbers),
            '![Accuracy by severity](corruptions.png)',
        ]
    parts += ['## Images of none of the classes', _describe_outsiders(numbers)]
    parts.append(reports.describe(numbers))
    return '\n\n'.join(part.rstrip('\n') for part in parts if part) + '\n'


def _describe_training(numbers: dict[str, Any]) -> str:
    sentences = []
    if better := describe_other_ways(numbers):
        sentences.append(
            f'**The network knows them otherwise ({better}): it or this data set lies on '
            'its side, or has light and dark exchanged.**'
        )
    number = numbers['images_seen_in_training']
    if number is None:  # for the same reason no temperature was fitted
        sentences.append(
            '**These images could not be compared with the training images: '
            f'{numbers["temperature_scaling"]["not_fitted"]}.**'
        )
    elif number:
        sentences.append(
            f'**{number:,} of these images were used in training: the results do not say '
            'how well other images are recognised.**'
        )
    if number := numbers['images_held_out']:
        sentences.append(
            f'**The run has held out {number:,} of these images: its settings may have '
            'been chosen by them, and the temperature was fitted to them.**'
        )
    if numbers['extra_training_examples']:
        sentences.append(
            'The extra training examples of the run were not compared with these images.'
        )
    return ' '.join(sentences)


def _overall_table(numbers: dict[str, Any]) -> str:
    low, high = numbers['accuracy_95_percent_interval']
    rows = [
        ['', 'value', '95 % interval'],
        ['accuracy', f'{numbers["accuracy"]:.2%}', f'{low:.2%} to {high:.2%}'],
        [
            'balanced accuracy, the mean of the classes',
            f'{numbers["balanced_accuracy"]:.2%}',
            '',
        ],
    ]
    for title, name in (
        ('negative log likelihood, nats', 'loss'),
        ('Brier score (0 to 2)', 'brier_score'),
    ):
        low, high = numbers[f'{name}_95_percent_interval']
        interval = '–' if np.isnan(low) else f'{low:.4f} to {high:.4f}'
        rows.append([title, f'{numbers[name]:.4f}', interval])
    rows.append(
        ['expected calibration error, 15 bins', f'{numbers["calibration_error"]:.2%}', '']
    )
    return tables.to_markdown(rows)


def _describe_temperature(numbers: dict[str, Any]) -> str:
    scaling = numbers['temperature_scaling']
    if 'not_fitted' in scaling:
        return f'No temperature was fitted: {scaling["not_fitted"]}.'
    temperature = scaling['temperature']
    verdict = 'too confident' if temperature > 1 else 'not confident enough'
    return (
        f'A temperature of {temperature:.2f}, fitted on {scaling["held_out_images"]:,} '
        f'held-out images (the network is {verdict}), gives a negative log likelihood of '
        f'{scaling["loss"]:.4f}, a Brier score of {scaling["brier_score"]:.4f} and a '
        f'calibration error of {scaling["calibration_error"]:.2%}. It changes no '
        'prediction.'
    )


def _class_table(numbers: dict[str, Any], class_names: Sequence[str]) -> str:
    counts = np.array(numbers['confusion_matrix'])
    rows = [['class', 'images', 'precision, %', 'recall, %', '95 % interval', 'F1, %']]
    of_classes = numbers['classes']
    for i, name in enumerate(class_names):
        total = int(counts[i].sum())
        interval = '–'
        if total:
            low, high = intervals.wilson_interval(int(counts[i, i]), total)
            interval = f'{100 * low:.1f} to {100 * high:.1f}'
        precision, recall, f1 = (
            '–' if np.isnan(value := of_classes[score][i]) else f'{100 * value:.2f}'
            for score in ('precision', 'recall', 'f1')
        )
        rows.append([name, f'{total:,}', precision, recall, interval, f1])
    return tables.to_markdown(rows)


def _corruption_table(numbers: dict[str, Any]) -> str:
    rows = [['corruption', *(f'severity {i}' for i in SEVERITIES), 'mean', 'amounts']]
    by_severity = []
    for name, severities in numbers['corruptions'].items():
        accuracies = [100 * of['accuracy'] for of in severities]
        amounts = ', '.join(f'{of["amount"]:.3g}' for of in severities)
        cells = [f'{value:.1f}' for value in [*accuracies, np.mean(accuracies)]]
        rows.append([name, *cells, f'{amounts} {CORRUPTIONS[name].unit}'])
        by_severity.append(accuracies)
    means = [*np.mean(by_severity, axis=0), np.mean(by_severity)]
    rows.append(['mean', *(f'{value:.1f}' for value in means), ''])
    return tables.to_markdown(rows)


def _widest(numbers: dict[str, Any]) -> float:
    """Returns the largest distance of an accuracy to an end of its interval, in points."""
    return 100 * max(
        abs(end - of['accuracy'])
        for severities in numbers['corruptions'].values()
        for of in severities
        for end in of['accuracy_95_percent_interval']
    )


def _describe_outsiders(numbers: dict[str, Any]) -> str:
    found = numbers.get('out_of_distribution')
    if not found:
        return (
            'Not measured: `--ood_dataset` names a data set without any of the classes, '
            'such as `fashion_mnist`.'
        )
    low, high = found['area_under_roc_95_percent_interval']
    return (
        'The largest probability separates the images from '
        f'{found["images"]:,} of {found["dataset"]} with an area under the ROC curve of '
        f'{found["area_under_roc"]:.4f} ({low:.4f} to {high:.4f}; 0.5 is chance). The mean '
        f'confidence on those is {found["mean_confidence"]:.1%}.'
    )


@in_our_style()
def reliability_diagram(
    probabilities: Float[np.ndarray, 'images classes'], labels: Int[np.ndarray, 'images']
) -> Figure:
    """Draws accuracy by confidence, with intervals, and the number of images."""
    bins = metrics.confidence_bins(probabilities, labels)
    used = bins.examples > 0
    number = bins.examples[used]
    confidence, accuracy = bins.confidence[used] / number, bins.correct[used] / number
    bounds = np.array(
        [
            intervals.wilson_interval(correct, int(total))
            for correct, total in zip(bins.correct[used].tolist(), number, strict=True)
        ]
    )
    figure = Figure(figsize=(6, 6.5), layout='constrained')
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], '--', color='gray', label='perfectly calibrated')
    # By rounding, an interval may not quite reach what was observed at 0 or 1.
    errors = np.abs(bounds.T - accuracy)
    label = 'observed, with 95 % intervals'
    upper.errorbar(confidence, accuracy, errors, fmt='o', color=figures.RIGHT, label=label)
    upper.set(ylabel='accuracy', ylim=(-0.02, 1.02))
    upper.legend(loc='upper left')
    error = metrics.calibration_error(probabilities, labels)
    upper.set_title(f'Expected calibration error {error:.2%}, {len(labels):,} images')
    edges = np.linspace(0, 1, len(bins.examples) + 1)
    style = {'align': 'edge', 'color': figures.RIGHT, 'ec': 'white'}
    lower.bar(edges[:-1], bins.examples, np.diff(edges), **style)
    lower.set(xlabel='confidence', ylabel='images', yscale='log', xlim=(0, 1))
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
        axes.grid(alpha=0.3)
    upper.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure


@in_our_style()
def corruption_curves(numbers: dict[str, Any]) -> Figure:
    """Draws accuracy by severity, one line a corruption; 0 is without any."""
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    clean = {key: numbers[key] for key in ('accuracy', 'accuracy_95_percent_interval')}
    for name, severities in numbers['corruptions'].items():
        points = [clean, *severities]
        accuracy = [of['accuracy'] for of in points]
        low, high = zip(*(of['accuracy_95_percent_interval'] for of in points), strict=True)
        (line,) = axes.plot(range(len(points)), accuracy, 'o-', label=name)
        axes.fill_between(
            range(len(points)), low, high, color=line.get_color(), alpha=0.2, lw=0
        )
    axes.set(
        title=f'{numbers["dataset"]}: accuracy on worse images, 95 % intervals',
        xlabel='severity',
        ylabel='accuracy',
        ylim=(0, 1.02),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(alpha=0.3)
    axes.legend(loc='lower left')
    return figure
