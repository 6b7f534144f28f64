"""Hands write digits in forms of their own."""

import numpy as np
import pytest

from mnist_flax.drawing import curves, hands, others
from mnist_flax.drawing.forms import FORMS


@pytest.mark.parametrize('digit', FORMS)
def test_every_form_is_about_as_high_as_a_digit(digit):
    for form in FORMS[digit]:
        for seed in range(30):
            points = np.concatenate(form.draw(np.random.default_rng(seed)))
            assert np.isfinite(points).all()
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            assert -0.25 < top < 0.15
            assert 0.85 < bottom < 1.15
            assert right - left < 1.3


def test_a_hand_keeps_its_form_and_never_writes_twice_the_same():
    hand = hands.meet(5)
    assert hands.meet(5) == hand != hands.meet(6)
    one, other = (hand.write(7, np.random.default_rng(seed)) for seed in range(2))
    assert [len(stroke) for stroke in one] == [len(stroke) for stroke in other]
    off = np.abs(np.concatenate(one) - np.concatenate(other)).max()
    assert 0.001 < off < 0.25


def test_all_forms_of_a_digit_are_written_by_some_hands():
    def count_strokes(seed):
        return len(hands.meet(seed).write(7, np.random.default_rng(0)))

    assert {count_strokes(seed) for seed in range(60)} == {1, 2, 3}


def test_other_things_are_drawn_of_all_kinds():
    rng = np.random.default_rng(0)
    numbers = []
    for seed in range(200):
        strokes = others.draw_other(hands.meet(seed), rng)
        assert all(len(of) >= 2 and np.isfinite(of).all() for of in strokes)
        numbers.append(len(strokes))
    assert {1, 2, 3, 4} <= {*numbers}


def test_a_smooth_line_goes_through_its_points():
    points = [(0, 0), (1, 2), (3, 1), (4, 4)]
    drawn = curves.smooth(*points)
    for point in points:
        assert np.abs(drawn - point).sum(axis=1).min() < 1e-9
    steps = np.linalg.norm(np.diff(drawn, axis=0), axis=1)
    assert steps.max() < 1
