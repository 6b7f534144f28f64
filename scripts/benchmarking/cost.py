"""How time and memory grow with the work: images, runs, epochs, batches, pixels."""

import statistics
from collections.abc import Iterator, Sequence

from benchmarking.report import Table
from matplotlib.figure import Figure

TRAINING, MEMORY = 'training, s', 'peak memory, GiB'

# What is varied, from a run of an epoch of 7,500 images of 28x28 in batches of 128.
_AXES = {
    'num_examples': ('images', (7_500, 60_000, 600_000)),
    'num_runs': ('runs', (1, 4, 16, 64)),
    'num_epochs': ('epochs', (1, 10, 100)),
    'batch_size': ('batch size', (32, 128, 512, 2048, 4096)),
    'side': ('height and width of an image', (12, 20, 28, 40, 64)),
}
_BASE = {
    'num_examples': 7_500,
    'num_runs': 1,
    'num_epochs': 1,
    'batch_size': 128,
    'side': 28,
}


def list_points() -> Iterator[tuple[Table, str, dict[str, int]]]:
    """Yields the table, the column and the setting of each amount of each kind of work."""
    for field, (axis, amounts) in _AXES.items():
        table = Table(f'Cost by {axis}', axis=axis, ratios=False)
        for amount in amounts:
            yield table, f'{amount:,}', {**_BASE, field: amount}


def to_figure(found: Sequence[Table]) -> Figure:
    """Draws time and memory over each amount, both relative to those of the least one."""
    figure = Figure((11, 4.5), layout='constrained')
    for i, (row, name) in enumerate(((TRAINING, 'Training time'), (MEMORY, 'Peak memory'))):
        axes = figure.add_subplot(
            1, 2, i + 1, title=f'{name}, relative to the least amount'
        )
        for table in found:
            label, amounts = (
                table.axis,
                [float(of.replace(',', '')) for of in table.columns],
            )
            if 'width' in label:  # the work grows with the area
                label, amounts = 'pixels of an image', [amount**2 for amount in amounts]
            medians = [statistics.median(cells[row]) for cells in table.columns.values()]
            axes.plot(
                [amount / amounts[0] for amount in amounts],
                [median / medians[0] for median in medians],
                'o-',
                label=label,
            )
        axes.plot([1, 200], [1, 200], 'k:', label='in proportion')
        axes.set(xscale='log', yscale='log', xlabel='amount, relative to the least')
        axes.legend()
    return figure
