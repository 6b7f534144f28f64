"""The figure of a sweep: a curve, a map, or a list."""

import io

import numpy as np
import pytest
from made_up_sweep import RATE, make_points
from PIL import Image

from mnist_flax.reporting import selection, sweep_figures
from mnist_flax.reporting.selection import Point

DROPOUT = 'model.dropout_rate'


def draw(points):
    figure = sweep_figures.plot(selection.rank(points), 'title')
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    with Image.open(buffer) as image:
        assert len(np.unique(np.asarray(image.convert('L')))) > 20
    return figure.axes


def test_of_one_number_accuracy_is_drawn_against_it():
    points = [of._replace(values={**of.values, 'model.size': 3}) for of in make_points()]
    (axes,) = draw(points)
    assert (axes.get_xlabel(), axes.get_xscale()) == ('learning_rate', 'log')
    assert axes.get_ylabel() == 'held-out accuracy, %'
    crosses = [line for line in axes.lines if line.get_marker() == 'x']
    assert sorted(line.get_xdata()[0] for line in crosses) == [0.1, 1.0]
    (star,) = (line for line in axes.lines if line.get_marker() == '*')
    assert star.get_xdata()[0] == 0.002
    low, high = axes.get_ylim()
    assert low < 98.8
    assert 99.52 < high < 100
    (axes,) = draw(make_points({0.1: [0.99], 0.2: [0.98], 0.0: [0.11]}))
    assert axes.get_xscale() == 'linear'
    assert axes.get_ylabel().endswith('(scaled by the errors)')


def test_of_two_numbers_a_full_grid_is_a_map_and_others_are_dots():
    points = [
        Point(
            {RATE: rate, DROPOUT: dropout}, {i: x + dropout / 1000 for i, x in of.items()}
        )
        for dropout in (0.0, 0.5)
        for (_, rate), of in (
            (tuple(*p.values.items()), p.accuracies) for p in make_points()
        )
    ]
    axes, colors = draw(points)
    texts = [text.get_text() for text in axes.texts]
    assert '★ 99.17\n± 0.04' in texts
    assert texts.count('diverged') == 2
    assert texts[-3].endswith('\n1 diverged')
    assert colors.get_ylabel() == 'held-out accuracy, %'
    axes, _ = draw(points[1:])
    assert not axes.texts
    assert len(axes.collections[0].get_offsets()) == 9
    draw([of._replace(accuracies={0: 0.1 + of.values[DROPOUT]}) for of in points])


@pytest.mark.parametrize(
    'make_values',
    [
        lambda i: {'model.features': (i, 64)},
        lambda i: {'flag': bool(i % 2), RATE: i},
        lambda i: {'a': i, 'b': i**2, 'c': -i},
        lambda i: {'optimizer': {'constructor': 'optax.sgd', 'momentum': i}} if i else {},
    ],
)
def test_anything_else_is_a_list_with_the_best_on_top(make_values):
    points = [
        of._replace(values=make_values(i)) for i, of in enumerate(make_points())
    ]  # fmt: skip
    (axes,) = draw(points)
    assert len(axes.get_yticks()) == 5
    bottom, top = axes.get_ylim()
    assert bottom > top
    (star,) = (line for line in axes.lines if line.get_marker() == '*')
    assert star.get_ydata()[0] == 0
    assert [*star.get_xdata()] == pytest.approx([99.12])


def test_a_long_list_shows_its_best():
    points = make_points({f'number {i}': [0.9 + i / 1000] for i in range(45)})
    (axes,) = draw(points)
    assert axes.get_title() == 'title: the best 40 of 45'
    assert axes.get_yticklabels()[0].get_text() == 'learning_rate=number 44'
