"""The figure of a sweep: held-out accuracy against what was swept."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_flax.reporting import scales, selection
from mnist_flax.reporting.selection import BEST, DIVERGED, NO_VERDICT, SAME, WORSE, Ranked
from mnist_flax.reporting.style import in_our_style

_COLORS = {
    BEST: '#1b7f4b', SAME: '#1b6ca8', WORSE: '#c0392b', NO_VERDICT: '#7f8c8d',
    DIVERGED: 'black',
}  # fmt: skip
_MOST_LISTED = 40


@in_our_style()
def plot(ranked: Sequence[Ranked], title: str) -> Figure:
    """Draws the points of a sweep.

    Of one number that varies, accuracy is drawn against it; of two, a map of the grid or,
    if the points are no full grid, a dot a point; of anything else, a sorted list.

    Args:
      ranked: The points, the best first.
      title: Title of the figure.
    """
    paths = _find_varying(ranked)
    columns = [[of.values.get(path) for of in ranked] for path in paths]
    if not all(_is_number(value) for column in columns for value in column):
        paths = []
    names = selection.name_fields(of.values for of in ranked)
    labels = [names[path] for path in paths]
    numbers = np.array(columns, float) if paths else np.empty((0, len(ranked)))
    if len(paths) == 1:
        return _plot_line(ranked, numbers[0], labels[0], title)
    if len(paths) == 2:
        sides = [len(set(column)) for column in numbers]
        is_grid = len(set(zip(*numbers, strict=True))) == len(ranked) == np.prod(sides)
        return (_plot_map if is_grid else _plot_dots)(ranked, numbers, labels, title)
    return _plot_list(ranked, title)


def _find_varying(ranked: Sequence[Ranked]) -> list[str]:
    paths = dict.fromkeys(path for of in ranked for path in of.values)
    return [
        path
        for path in paths
        if any(of.values.get(path) != ranked[0].values.get(path) for of in ranked)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plot_line(
    ranked: Sequence[Ranked], x: Float[np.ndarray, 'points'], label: str, title: str
) -> Figure:
    figure = Figure(figsize=(7, 4.8), layout='constrained')
    axes = figure.subplots()
    shown = np.argsort(x, kind='stable')
    means = np.array([_mean(of) for of in ranked])
    axes.plot(x[shown], means[shown], color='#b0b0b0', linewidth=1, zorder=1)
    for of, at in zip(ranked, x, strict=True):
        _draw_point(axes, of, at, is_list=False)
    axes.set(title=title, xlabel=label)
    scales.scale_number(axes, 'x', x)
    scales.scale_accuracy(axes, 'y', ranked)
    axes.grid(alpha=0.3)
    _add_legend(figure, ranked)
    return figure


def _plot_list(ranked: Sequence[Ranked], title: str) -> Figure:
    shown = ranked[:_MOST_LISTED]
    # What all points have in common would only lengthen their names.
    varying = _find_varying(ranked) or list(ranked[0].values)
    names = selection.name_points(
        [{path: of.values[path] for path in varying if path in of.values} for of in shown]
    )
    figure = Figure(figsize=(9, 2 + 0.32 * len(shown)), layout='constrained')
    axes = figure.subplots()
    for y, of in enumerate(shown):
        _draw_point(axes, of, float(y), is_list=True)
    if len(shown) < len(ranked):
        title += f': the best {len(shown)} of {len(ranked)}'
    axes.set(
        title=title,
        yticks=range(len(shown)),
        ylim=(len(shown) - 0.5, -0.5),  # the first on top
    )
    axes.set_yticklabels(
        [textwrap.fill(name, 60) for name in names], fontsize='small', parse_math=False
    )
    scales.scale_accuracy(axes, 'x', shown)
    axes.grid(axis='x', alpha=0.3)
    _add_legend(figure, shown)
    return figure


def _draw_point(axes: Axes, of: Ranked, at: float, *, is_list: bool) -> None:
    """Draws a mean with its interval, its runs, and crosses for those that diverged."""

    def place(values: Sequence[float]) -> tuple[Any, Any]:
        fixed = [at] * len(values)
        return (values, fixed) if is_list else (fixed, values)

    color = _COLORS[of.verdict]
    runs = [100 * value for value in of.accuracies.values() if np.isfinite(value)]
    if len(runs) > 1:
        axes.plot(*place(runs), '.', color=color, alpha=0.35, markersize=6, zorder=2)
    if of.summary is not None:
        summary = of.summary
        # Of one run there is no interval: its half is not a number, and nothing is drawn.
        half = 100 * (summary.high - summary.mean)
        style: dict[str, Any] = {'xerr' if is_list else 'yerr': half, 'capsize': 3}
        style |= {'fmt': '*', 'markersize': 13} if of.verdict == BEST else {'fmt': 'o'}
        axes.errorbar(*place([100 * summary.mean]), color=color, zorder=3, **style)
    if of.num_diverged:
        transform = axes.get_yaxis_transform() if is_list else axes.get_xaxis_transform()
        axes.plot(
            *place([0.03]), 'x', color='black', markersize=8, markeredgewidth=2,
            transform=transform, zorder=4,
        )  # fmt: skip


def _plot_map(
    ranked: Sequence[Ranked],
    numbers: Float[np.ndarray, '2 points'],
    labels: Sequence[str],
    title: str,
) -> Figure:
    across, up = (sorted(set(column)) for column in numbers)
    places = [(across.index(x), up.index(y)) for x, y in numbers.T]
    means = np.full((len(up), len(across)), np.nan)
    for (column, row), of in zip(places, ranked, strict=True):
        means[row, column] = _mean(of)
    size = (max(6.0, 2.2 + 0.85 * len(across)), max(3.6, 2.0 + 0.55 * len(up)))
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots()
    norm = scales.make_color_norm(means)
    colors = axes.imshow(means, origin='lower', aspect='auto', norm=norm)
    for place, of in zip(places, ranked, strict=True):
        is_light = of.summary is None or norm(_mean(of)) > 0.6
        axes.text(
            *place, _describe_cell(of), ha='center', va='center', fontsize='small',
            color='black' if is_light else 'white',
            weight='bold' if of.verdict == BEST else None,
        )  # fmt: skip
    half = ' ± half of its 95 % interval' if len(ranked[0].accuracies) > 1 else ''
    axes.set_title(f'{title}\n(mean{half}; ★ is the best)', fontsize='medium')
    axes.set(
        xlabel=labels[0],
        ylabel=labels[1],
        xticks=range(len(across)),
        xticklabels=[f'{x:g}' for x in across],
        yticks=range(len(up)),
        yticklabels=[f'{y:g}' for y in up],
    )
    scales.add_colorbar(figure, axes, colors)
    return figure


def _describe_cell(of: Ranked) -> str:
    if of.summary is None:
        return 'diverged'
    text = f'{"★ " if of.verdict == BEST else ""}{_mean(of):.2f}'
    if of.summary.n > 1:
        text += f'\n± {100 * (of.summary.high - of.summary.mean):.2f}'
    return f'{text}\n{of.num_diverged} diverged' if of.num_diverged else text


def _plot_dots(
    ranked: Sequence[Ranked],
    numbers: Float[np.ndarray, '2 points'],
    labels: Sequence[str],
    title: str,
) -> Figure:
    figure = Figure(figsize=(7, 5), layout='constrained')
    axes = figure.subplots()
    means = np.array([_mean(of) for of in ranked])
    x, y = numbers
    norm = scales.make_color_norm(means)
    # The best last, so that it lies on top.
    colors = axes.scatter(x[::-1], y[::-1], c=means[::-1], norm=norm, s=60)
    diverged = np.array([of.num_diverged > 0 for of in ranked])
    if diverged.any():
        axes.plot(x[diverged], y[diverged], 'x', color='black', label='a run diverged')
    if ranked[0].summary is not None:
        axes.plot(
            x[:1], y[:1], '*', color='white', markeredgecolor=_COLORS[WORSE],
            markersize=16, label=f'best: {_mean(ranked[0]):.2f} %',
        )  # fmt: skip
    axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
    scales.scale_number(axes, 'x', x)
    scales.scale_number(axes, 'y', y)
    axes.grid(alpha=0.3)
    figure.legend(loc='outside lower center', ncols=2, fontsize='small')
    scales.add_colorbar(figure, axes, colors)
    return figure


def _mean(of: Ranked) -> float:
    return 100 * of.summary.mean if of.summary else np.nan


def _add_legend(figure: Figure, ranked: Sequence[Ranked]) -> None:
    verdicts = {of.verdict for of in ranked if of.summary}
    entries = [
        Line2D([], [], color=color, marker='*' if verdict == BEST else 'o', label=verdict)
        for verdict, color in _COLORS.items()
        if verdict in verdicts - {DIVERGED}
    ]
    if any(of.summary and of.summary.n > 1 for of in ranked):
        entries[0].set_label(f'{entries[0].get_label()} (mean, 95 % interval)')
        style: dict[str, Any] = {'marker': '.', 'alpha': 0.35, 'linestyle': ''}
        entries.append(Line2D([], [], color='black', label='one run', **style))
    if any(of.num_diverged for of in ranked):
        style = {'marker': 'x', 'linestyle': '', 'markeredgewidth': 2}
        entries.append(Line2D([], [], color='black', label='a run diverged', **style))
    figure.legend(handles=entries, loc='outside lower center', ncols=3, fontsize='small')
