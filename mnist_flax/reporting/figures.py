"""The figures of a report, as PNG."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mnist_flax.data.shards import Examples
from mnist_flax.reporting.style import in_our_style
from mnist_flax.training.metrics import Row

RIGHT, WRONG = '#1b6ca8', '#c0392b'

# Characters of a name of a class.
_LONGEST_NAME = 16


@in_our_style()
def to_png(figure: Figure) -> bytes:
    """Renders a figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Names may be in scripts that Matplotlib's font does not have; it draws boxes.
        warnings.filterwarnings('ignore', message='Glyph')
        # Not by `Figure.savefig`, which draws everything twice. Without metadata the bytes
        # do not depend on Matplotlib's version string.
        figure.set_dpi(120)
        FigureCanvasAgg(figure).print_png(buffer, metadata={'Software': None})
    return buffer.getvalue()


def to_labels(names: Sequence[str]) -> list[str]:
    """Shortens names, and has Matplotlib not take their dollar signs for formulas."""
    return [
        (name if len(name) <= _LONGEST_NAME else f'{name[: _LONGEST_NAME - 1]}…').replace(
            '$', r'\$'
        )
        for name in names
    ]


@in_our_style()
def accuracy_plot(
    histories: Mapping[str, Sequence[Sequence[Row]]], title: str, validation: str
) -> Figure:
    """Draws training and validation accuracy by epoch.

    Of several runs, each is a faint line, their mean a strong one, and the band is a
    standard deviation either side of it. Of the combinations of a sweep, each has a colour,
    and validation accuracy alone is drawn.

    Args:
      histories: The numbers of each epoch of each run, by the name of their combination;
        without a sweep there is one, and its name does not matter.
      title: Title of the figure.
      validation: What the runs are validated on: 'test' or 'held-out' images.
    """
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    role = 'test' if validation == 'test' else 'validation'
    if len(histories) > 1:
        for i, (name, runs) in enumerate(histories.items()):
            _draw_runs(axes, runs, role, f'C{i % 10}', None, name)
    else:
        (runs,) = histories.values()
        last = np.mean([history[-1][f'{role}_accuracy'] for history in runs])
        means = f'; mean ± sd of {len(runs)} runs' if len(runs) > 1 else ''
        label = f'training (over the epoch, as it learns){means}'
        _draw_runs(axes, runs, 'train', '#7f8c8d', 'o', label)
        label = f'{validation} (after the epoch): {last:.2%} at the end{means}'
        _draw_runs(axes, runs, role, RIGHT, 's', label)
    # The start of a long training may leave the axes: it would hide the rest.
    lines = [np.asarray(line.get_ydata()) for line in axes.lines]
    shown = np.concatenate([line[len(line) // 20 :] for line in lines])
    shown = shown[np.isfinite(shown)]  # an earlier version may have noted less
    margin = 0.05 * np.ptp(shown) + 1e-3
    axes.set_ylim(shown.min() - margin, shown.max() + margin)
    axes.set(title=title, xlabel='epoch', ylabel='accuracy')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    axes.grid(alpha=0.3)
    # A single epoch can be anywhere, others end on top.
    axes.legend(
        loc='lower right' if len(lines[0]) > 1 else 'best',
        fontsize='small' if len(histories) > 4 else None,
    )
    return figure


def _draw_runs(axes, runs, role, color, marker, label):
    num_epochs = len(runs[0])
    accuracy = np.array(
        [[epoch[f'{role}_accuracy'] for epoch in history] for history in runs]
    )
    epochs = np.arange(1, num_epochs + 1)
    mean = accuracy.mean(axis=0)
    # Dots on a long line would hide it.
    marker = marker if num_epochs <= 30 else None
    axes.plot(epochs, mean, marker=marker, color=color, label=label)
    if len(runs) > 1:
        axes.plot(epochs, accuracy.T, color=color, alpha=0.25, linewidth=0.8)
        sd = accuracy.std(axis=0, ddof=1)
        axes.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=0.15, lw=0)


@in_our_style()
def sample_predictions(
    examples: Examples,
    probabilities: Float[np.ndarray, 'examples classes'],
    class_names: Sequence[str],
    title: str,
    kind: str = 'test images',
) -> Figure:
    """Shows the first images, then the mistakes made with most confidence.

    Args:
      examples: The images.
      probabilities: What the network says of each.
      class_names: Names of the classes.
      title: Title of the figure.
      kind: What to call the images.
    """
    class_names = to_labels(class_names)
    predictions = probabilities.argmax(axis=-1)
    mistakes = np.flatnonzero(predictions != examples.labels)
    surest = mistakes[np.argsort(-probabilities.max(axis=-1)[mistakes], kind='stable')]
    first = np.arange(min(16, len(examples.labels)))
    shown = surest[:16]
    sections = [(f'the first {len(first)} {kind}', first)]
    if len(shown):
        sections.append(
            (
                f'{len(shown)} of the {len(mistakes)} mistakes in '
                f'{len(predictions):,} {kind}, those made with most confidence',
                shown,
            )
        )

    rows = [math.ceil(len(indices) / 8) for _, indices in sections]
    figure = Figure(figsize=(11, 1.85 * sum(rows) + 1.1), layout='constrained')
    figure.suptitle(f'{title}: predicted class and confidence (true class)')
    parts = figure.subfigures(len(sections), 1, height_ratios=rows, squeeze=False)[:, 0]
    for (heading, indices), part in zip(sections, parts, strict=True):
        part.suptitle(heading, fontsize='medium')
        right = predictions[indices] == examples.labels[indices]
        captions = [
            f'{"" if is_right else "✗ "}{class_names[predictions[i]]}  '
            f'{probabilities[i].max():.1%}\n(true {class_names[examples.labels[i]]})'
            for i, is_right in zip(indices, right, strict=True)
        ]
        _draw_grid(part, examples.images[indices], captions, right)
    return figure


@in_our_style()
def captioned_images(
    images: Sequence[UInt8[np.ndarray, 'height width channels']],
    captions: Sequence[str],
    title: str,
) -> Figure:
    """Shows images with a caption above each, eight in a row.

    Args:
      images: One or more, of one size.
      captions: Two lines for each.
      title: Title of the figure.
    """
    rows = math.ceil(len(images) / 8)
    figure = Figure(figsize=(11, 1.85 * rows + 0.7), layout='constrained')
    figure.suptitle(title)
    _draw_grid(figure, images, captions, [False] * len(images))
    return figure


def _draw_grid(part, images, captions, right):
    # All in one pair of axes: a pair for each image takes four times as long to draw.
    axes = part.subplots()
    axes.set_axis_off()
    for place, (image, caption, is_right) in enumerate(
        zip(images, captions, right, strict=True)
    ):
        top, left = 1.35 * (place // 8), 1.0 * (place % 8)
        _show(axes, image, extent=_fit(image.shape[:2], left, top))
        axes.text(
            left + 0.45,
            top - 0.03,
            caption,
            ha='center',
            fontsize='small',
            color=RIGHT if is_right else WRONG,
        )
    num_rows = math.ceil(len(images) / 8)
    axes.set(xlim=(-0.1, 8), ylim=(1.35 * num_rows - 0.35, -0.3))


@in_our_style()
def confusion_matrix(
    counts: Int[np.ndarray, 'classes classes'], class_names: Sequence[str], title: str
) -> Figure:
    """Draws how often each true class was taken for each class.

    The colours of the mistakes have a scale of their own: beside a thousand right answers
    they would all look white.

    Args:
      counts: Examples by true class (row) and predicted class (column).
      class_names: Names of the classes.
      title: Title of the figure.
    """
    class_names = to_labels(class_names)
    side = max(6.5, 0.4 * len(class_names))
    figure = Figure(figsize=(side, side), layout='constrained')
    axes = figure.subplots()
    right = np.eye(len(counts), dtype=bool)
    axes.imshow(
        np.where(right, np.nan, counts),
        cmap='Reds',
        vmin=0,
        vmax=max(1, counts[~right].max(initial=0)),
    )
    axes.imshow(np.where(right, 1.0, np.nan), cmap='Blues', vmin=0, vmax=2)
    threshold = counts[~right].max(initial=0) / 2
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = row != column and count > threshold
            axes.text(
                column,
                row,
                str(count),
                ha='center',
                va='center',
                fontsize='small',
                color='white' if dark else 'black',
            )
    axes.set(
        title=title,
        xlabel='predicted class',
        ylabel='true class',
        xticks=range(len(class_names)),
        yticks=range(len(class_names)),
        xticklabels=class_names,
        yticklabels=class_names,
    )
    if max(map(len, class_names)) > 3:
        axes.tick_params('x', rotation=45)
    return figure


@in_our_style()
def network_inputs(
    images: Sequence[UInt8[np.ndarray, '_ _ _']],
    titles: Sequence[str],
    boxes: Sequence[Sequence[tuple[float, float, float, float]]],
) -> Figure:
    """Shows what a network got, with a title for each.

    Args:
      images: One or more.
      titles: What to write above them.
      boxes: Rectangles to draw in each: left, top, right, bottom, in parts of its sides.
    """
    num_columns = min(8, len(images))
    num_rows = math.ceil(len(images) / num_columns)
    size = (1.7 * max(num_columns, 2), 2.1 * num_rows)
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for image, title, rectangles, axes in zip(images, titles, boxes, grid, strict=False):
        _show(axes, image)
        height, width = image.shape[:2]
        for left, top, right, bottom in rectangles:
            corner, size = (left * width, top * height), (right - left, bottom - top)
            rectangle = Rectangle(corner, size[0] * width, size[1] * height)
            rectangle.set(fill=False, edgecolor=WRONG, linewidth=0.6)
            axes.add_patch(rectangle)
        axes.set_title(title, fontsize='small', parse_math=False)
    return figure


def _fit(shape: Sequence[int], left: float, top: float) -> tuple[float, ...]:
    """Places an image in the middle of a square of 0.9, in its own proportions."""
    height, width = (0.9 * (side / max(shape)) for side in shape)
    start, above = left + (0.9 - width) / 2, top + (0.9 - height) / 2
    return start, start + width, above + height, above


def _show(axes: Axes, image: UInt8[np.ndarray, '_ _ channels'], **options: Any) -> None:
    """Draws an image: gray as ink on paper, which looks better than white on black."""
    if image.shape[-1] == 1:
        axes.imshow(image[:, :, 0], cmap='gray_r', vmin=0, vmax=255, **options)
    else:
        axes.imshow(image, **options)
