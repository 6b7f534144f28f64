"""Digits under shadows and lamps, which most photographs have."""

import numpy as np
import pytest
from drawn_digits import STROKES, differ, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_flax.common.errors import UserError
from mnist_flax.recognition import light
from mnist_flax.recognition.inputs import to_mnist_format


def cast(size, turn, place=0.0, soft=0.001, dark=0.5):
    """The light on a picture of which a part is in shadow; its edge has an angle."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    away = np.cos(np.radians(turn)) * x + np.sin(np.radians(turn)) * y - place
    return 1 - (1 - dark) / (1 + np.exp(np.clip(-away / soft, -50, 50)))


def light_a_lamp(size):
    y, x = np.mgrid[:size, :size] / size - 0.5
    return 0.35 + 0.65 * np.exp(-((x - 0.1) ** 2 + y**2) / 0.08)


def photograph(page, of_light):
    grain = np.random.default_rng(0).normal(0, 2, page.shape)
    return (page * of_light + grain).clip(0, 255).astype(np.uint8)


PLACE = (0.15, 0.2, 0.6)


@pytest.mark.parametrize('digit', STROKES)
def test_a_shadow_across_a_digit_changes_little(digit):
    turn, soft = [(20, 0.001), (65, 0.02), (200, 0.08)][digit % 3]
    page = draw(digit, 400, place=PLACE)
    for dark in (0.35, 0.6, 0.85):
        photo = photograph(page, cast(400, turn, soft=soft, dark=dark))
        assert differ(photo, page) < 8, dark


@pytest.mark.parametrize(
    ('page', 'of_light'),
    [
        *(
            (draw(3, 400, place=(0.25, 0.25, 0.5)), cast(400, turn, place=0.3))
            for turn in (0, 45, 100, 250)
        ),
        (draw(8, 400, place=PLACE), light_a_lamp(400)),
        (draw(5, 400, paper=70, ink=230, place=PLACE), cast(400, 30)),
        (draw(2, 400, paper=230, ink=150, place=PLACE), cast(400, 120, dark=0.65)),
    ],
    ids=[*['beside it'] * 4, 'a lamp', 'chalk', 'a pencil as bright as the shadow'],
)
def test_other_light_changes_little(page, of_light):
    assert differ(photograph(page, of_light), page) < 8


@pytest.mark.parametrize('turn', [0, 33, 90, 210])
@pytest.mark.parametrize('dark', [0.4, 0.6, 0.8])
def test_a_shadow_alone_is_nothing(turn, dark):
    page = np.full((300, 300), 230.0)
    with pytest.raises(UserError, match='sheet: nothing is drawn'):
        to_mnist_format(photograph(page, cast(300, turn, dark=dark)), 'sheet')


@pytest.mark.parametrize('digit', STROKES)
def test_strokes_along_the_margin_are_not_shadows(digit):
    page = draw(digit, 300, pen=0.1)
    rows, columns = np.nonzero(page < 128)
    cropped = page[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # Their soft outer edge is cut off too.
    assert differ(cropped, page) < 8


@settings(max_examples=20)
@given(st.floats(0, 360), st.floats(-0.4, 0.4), st.floats(0.2, 0.9))
def test_light_alone_is_removed_to_the_pixel(turn, place, dark):
    brightness = 0.9 * cast(120, turn, place, dark=dark)
    np.testing.assert_allclose(light.remove_shadows(brightness), 1, rtol=0, atol=0.02)
