"""Numbers of `scripts/benchmark.py` to figures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarking.report import (
    OURS,
    TARGET_ACCURACY,
    all_evaluations,
    mean_time,
    scaling_series,
    seconds_to_text,
)

_COLORS = {
    OURS: '#1b6ca8',
    'pytorch': '#e67e22',
    'pytorch_compile': '#b9770e',
    'keras': '#c0392b',
}


def to_figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draws the parts that were run.

    Args:
      results: The contents of ``benchmark.json``.

    Returns:
      Figures by file name.
    """
    figures = {}
    if 'epoch' in results or 'time_to_99' in results:
        figures['benchmark.png'] = _bar_charts(results)
    if 'scaling' in results:
        figures['benchmark_scaling.png'] = _scaling_plot(results)
    return figures


def _bar_charts(results: Mapping[str, Any]) -> Figure:
    panels: list[tuple[str, Callable[..., float], dict[str, list[float]]]] = []
    if 'epoch' in results:
        part = results['epoch']
        panels += [
            (
                f'training: an epoch of {results["num_examples"]:,} images, s',
                statistics.median,
                {name: numbers['epoch_seconds'] for name, numbers in part.items()},
            ),
            (
                f'evaluation of {results["num_test_examples"]:,} images, s',
                statistics.median,
                {name: all_evaluations(numbers) for name, numbers in part.items()},
            ),
        ]
    if 'time_to_99' in results:
        part = results['time_to_99']['runs']
        times = {
            name: [run['seconds'] for run in runs]
            for name, runs in part.items()
            if mean_time(runs) is not None
        }
        title = f'from start to {TARGET_ACCURACY:.0%} test accuracy, s'
        panels.append((title, statistics.mean, times))
    num_bars = max(len(values) for _, _, values in panels)
    figure = Figure(
        figsize=(max(4.4 * len(panels), 6), 1.3 + 0.55 * num_bars), layout='constrained'
    )
    for axes, panel in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _draw_bars(axes, *panel)
    environment = results['environment']
    figure.suptitle(
        f'{environment["cpu"]}, {environment["cores"]} cores; whiskers: least to most'
    )
    return figure


def _draw_bars(
    axes: Axes,
    title: str,
    average: Callable[..., float],
    values: Mapping[str, Sequence[float]],
) -> None:
    names = list(values)
    heights = [average(values[name]) for name in names]
    most = max(max(row) for row in values.values()) if names else 1
    axes.barh(names, heights, height=0.6, color=[_COLORS[name] for name in names])
    for row, (name, height) in enumerate(zip(names, heights, strict=True)):
        least, greatest = min(values[name]), max(values[name])
        axes.errorbar(
            height,
            row,
            xerr=[[height - least], [greatest - height]],
            color='black',
            linewidth=1.2,
            capsize=4,
        )
        axes.annotate(
            seconds_to_text(height),
            (greatest, row),
            xytext=(7, 0),
            textcoords='offset points',
            va='center',
            fontweight='bold' if name == OURS else 'normal',
        )
    axes.set_title(title, fontsize='medium')
    axes.set_xlim(0, 1.22 * most)  # room for the numbers
    axes.invert_yaxis()  # the first contender at the top, as in the table
    axes.grid(axis='x', alpha=0.3)
    axes.set_axisbelow(True)
    axes.tick_params('y', length=0)
    axes.spines[['top', 'right']].set_visible(False)


def _scaling_plot(results: Mapping[str, Any]) -> Figure:
    by_batch_size, by_examples = scaling_series(results)
    figure = Figure(figsize=(11, 4.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for axes, series in ((left, by_batch_size), (right, by_examples)):
        for name, row in series.items():
            axes.plot(
                list(row),
                [statistics.median(values) for values in row.values()],
                marker='o',
                color=_COLORS[name],
                linewidth=2.5 if name == OURS else 1.5,
                label=name,
            )
            axes.fill_between(
                list(row),
                [min(values) for values in row.values()],
                [max(values) for values in row.values()],
                color=_COLORS[name],
                alpha=0.15,
                linewidth=0,
            )
        sizes = list(next(iter(series.values())))
        axes.set_ylim(bottom=0)
        axes.set_xticks(sizes, [f'{size:,}' for size in sizes])
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    left.set_xscale('log')
    left.xaxis.set_minor_locator(NullLocator())
    sizes = list(next(iter(by_batch_size.values())))
    left.set_xticks(sizes, [f'{size:,}' for size in sizes])
    left.yaxis.set_major_formatter('{x:,.0f}')
    left.set(
        title=f'training speed, {results["num_examples"] // 4:,} images',
        xlabel='batch size (logarithmic)',
        ylabel='images/s',
    )
    right.set(title='an epoch, batches of 128', xlabel='number of images', ylabel='seconds')
    right.set_xlim(left=0)
    right.legend(loc='upper left', frameon=False)
    return figure
