"""A table of what was measured, a row for each contender, and its figure."""

import dataclasses
import pathlib
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure

from mnist_flax.checkpointing import workdirs
from mnist_flax.common import tables
from mnist_flax.reporting.figures import to_png
from mnist_flax.training import devices


@dataclasses.dataclass
class Table:
    """Numbers by column and row, one for each round."""

    title: str
    axis: str = ''  # what the columns' names are, if they are numbers
    speeds: bool = False  # not seconds: more is better
    bars: Sequence[str] = ()  # columns to draw, if there is no axis
    ratios: bool = True  # whether rows are compared with the first
    columns: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)

    def add(self, row: str, column: str, value: float) -> None:
        """Adds the number of a round, and shows it."""
        self.columns.setdefault(column, {}).setdefault(row, []).append(value)
        name = f'{self.axis} {column}'.strip()
        print(f'{name}, {row}: {_text(value)}', file=sys.stderr, flush=True)

    def rows(self) -> list[str]:
        """Lists the rows in the order in which they came."""
        return list(dict.fromkeys(row for cells in self.columns.values() for row in cells))

    def to_markdown(self) -> str:
        """Writes medians, ranges, and the time of the first row relative to each."""
        first, lines = self.rows()[0], {row: [row] for row in self.rows()}
        header = [self.axis or 'contender']
        for column, cells in self.columns.items():
            has_ratio = len(lines) > 1 and (self.axis or column.endswith(', s'))
            has_ratio = has_ratio and self.ratios
            header += [column, 'ratio'] if has_ratio else [column]
            for row, line in lines.items():
                line.append(_median_and_range(cells.get(row, [])))
                if has_ratio:
                    line.append(self._ratio(cells.get(first, []), cells.get(row, [])))
        ratio = f'; the ratio is that of times, {first} / this one, the median of rounds'
        compared = self.ratios and len(lines) > 1
        note = f'{self.title}. Median (least–most){ratio if compared else ""}:'
        return f'{note}\n\n{tables.to_markdown([header, *lines.values()])}'

    def _ratio(self, of_first: list[float], values: list[float]) -> str:
        # Those of a round came one after another: a slow machine was so for both.
        pairs = zip(of_first, values, strict=False)
        ratios = [value / of if self.speeds else of / value for of, value in pairs]
        return f'{statistics.median(ratios):.2f}' if ratios else '–'


def write(
    folder: pathlib.Path,
    part: str,
    found: Sequence[Table],
    versions: Mapping[str, Mapping[str, str]],  # of the packages, by contender
    command: str,
    draw: Callable[[Sequence[Table]], Figure] | None = None,
) -> None:
    """Prints and writes the tables of a part, and their figure, if there are numbers."""
    if found := [table for table in found if table.columns]:
        cpu = pathlib.Path('/proc/cpuinfo')  # of Linux
        model = re.search('model name.*: (.*)', cpu.read_text()) if cpu.exists() else None
        notes = [model[1] if model else platform.processor()]
        notes += [f'{devices.count_cores()} cores']
        for name, packages in versions.items():
            notes.append(', '.join([name, *map(' '.join, packages.items())]))
        texts = [*(table.to_markdown() for table in found), '; '.join(notes)]
        text = '\n'.join([*texts, f'\n`{command}`\n'])
        print(text, flush=True)
        files = {
            f'{part}.md': text.encode(),
            f'{part}.png': to_png((draw or to_figure)(found)),
        }
        workdirs.write(folder, files)


def to_figure(found: Sequence[Table]) -> Figure:
    """Draws medians, with whiskers from least to most: bars, or lines over an axis."""
    panels = [(table, column) for table in found for column in table.bars or ['']]
    figure = Figure((5.5 * len(panels), 4), layout='constrained')
    for i, (table, bar) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1, title=bar or table.title)
        by_row = {
            row: {name: cells[row] for name, cells in table.columns.items() if row in cells}
            for row in table.rows()
        }
        series = {bar: table.columns.get(bar, {})} if bar else by_row
        for name, points in series.items():
            medians = [statistics.median(values) for values in points.values()]
            pairs = list(zip(medians, points.values(), strict=True))
            below = [median - min(values) for median, values in pairs]
            above = [max(values) - median for median, values in pairs]
            if bar:
                bars = axes.bar(list(points), medians, yerr=[below, above], capsize=4)
                axes.bar_label(bars, [_text(median) for median in medians], padding=3)
            else:
                line = '-' if all(x.replace(',', '').isdecimal() for x in points) else ''
                errors = [below, above]
                axes.errorbar(list(points), medians, errors, fmt=f'o{line}', label=name)
                axes.legend()
        axes.set_xlabel(table.axis)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
        axes.grid(axis='y', alpha=0.3)
    return figure


def _text(value: float) -> str:
    decimals = 0 if isinstance(value, int) or value >= 100 else 2 if value >= 1 else 3
    return f'{value:,.{decimals}f}'


def _median_and_range(values: Sequence[float]) -> str:
    texts = [_text(f(values)) for f in (statistics.median, min, max)] if values else ['–']
    return '{} ({}–{})'.format(*texts) if len(values) > 1 else texts[0]
