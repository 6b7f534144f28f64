"""Axes and colours for accuracies, by the errors if these differ widely."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from mnist_flax.reporting.selection import Ranked

_LABEL = 'held-out accuracy, %'
_BY_ERRORS = ' (scaled by the errors)'
_TICKS = (0, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98)
_plain = FuncFormatter(lambda value, _: f'{value:g}')


def scale_number(axes: Axes, name: str, values: Float[np.ndarray, 'points']) -> None:
    """Makes an axis, 'x' or 'y', logarithmic if its numbers span a factor of 8 or more."""
    if _is_wide(values):
        axes.set(**{f'{name}scale': 'log'})
        axis = getattr(axes, f'{name}axis')
        few = sorted(set(values.tolist()))
        locator = LogLocator(subs=(1, 2, 5), numticks=15)
        axis.set_major_locator(FixedLocator(few) if len(few) <= 8 else locator)
        axis.set_major_formatter(_plain)
        axis.set_minor_locator(NullLocator())


def scale_accuracy(axes: Axes, name: str, ranked: Sequence[Ranked]) -> None:
    """Names an axis, 'x' or 'y', and fits it to the runs; below it leaves room for crosses.

    Intervals are cut off where they are wide: those of two runs are twelve times as wide as
    the distance of the runs.
    """
    axes.set(**{f'{name}label': _LABEL})
    finite = [of.summary for of in ranked if of.summary]
    if not finite:
        return
    is_log = _is_wide(np.array([100 - 100 * of.mean for of in finite]))
    runs, ends = (
        _from_percent(100 * np.array(values)) if is_log else 100 * np.array(values)
        for values in (
            [x for of in ranked for x in of.accuracies.values() if np.isfinite(x)],
            [end for of in finite if of.n > 1 for end in (of.low, of.high)],
        )
    )
    most = np.ptp(runs) / 2
    shown = np.append(runs, np.clip(ends, runs.min() - most, runs.max() + most))
    low, high = shown.min(), shown.max()
    margin = 0.06 * (high - low) + 1e-3
    low -= 3 * margin if any(of.num_diverged for of in ranked) else margin
    limits = [low, high + margin]
    if is_log:
        axis = getattr(axes, f'{name}axis')
        axis_scale = FuncScale(axis, (_from_percent, _to_percent))
        axes.set(**{f'{name}scale': axis_scale, f'{name}label': _LABEL + _BY_ERRORS})
        axis.set_major_locator(FixedLocator(_TICKS))
        axis.set_major_formatter(_plain)
        limits = [*_to_percent(limits)]
    axes.set(**{f'{name}lim': limits})


def make_color_norm(means: Float[np.ndarray, '...']) -> Normalize:
    """Maps accuracies in percent to colours; those that are not a number have none."""
    finite = means[np.isfinite(means)] if np.isfinite(means).any() else np.zeros(1)
    low, high = finite.min(), max(finite.max(), finite.min() + 0.01)
    if _is_wide(100 - finite):
        return FuncNorm((_from_percent, _to_percent), vmin=low, vmax=high)
    return Normalize(low, high)


def add_colorbar(figure: Figure, axes: Axes, colors: ScalarMappable) -> None:
    """Adds the scale of the colours of `make_color_norm`."""
    if not isinstance(colors.norm, FuncNorm):
        figure.colorbar(colors, ax=axes, label=_LABEL)
        return
    low, high = colors.norm.vmin or 0, colors.norm.vmax or 0
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    figure.colorbar(colors, ax=axes, label=_LABEL + _BY_ERRORS, ticks=ticks, format=_plain)


def _is_wide(values: Float[np.ndarray, '...']) -> bool:
    return bool(values.min() > 0 and values.max() >= 8 * values.min())


def _from_percent(accuracies: Any) -> Any:
    # 99.0 and 99.5 % are as far apart as 90 and 95 %.
    return -np.log10(np.maximum(100 - np.asarray(accuracies), 0.01))


def _to_percent(values: Any) -> Any:
    return 100 - 10 ** -np.asarray(values)
