"""Digits under shadows and lamps, which a photograph hardly ever lacks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_framing import STROKES, draw

from mnist_flax.recognition import light
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.recognizer import see


def cast(size, turn, place=0.0, soft=0.001, dark=0.5):
    """The light on a picture of which a part is in shadow; its edge has an angle."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    away = np.cos(np.radians(turn)) * x + np.sin(np.radians(turn)) * y - place
    return 1 - (1 - dark) / (1 + np.exp(np.clip(-away / soft, -50, 50)))


def photograph(page, of_light, noise=2):
    grain = np.random.default_rng(0).normal(0, noise, page.shape)
    return (page * of_light + grain).clip(0, 255).astype(np.uint8)


def differ(one, other):
    return np.abs(see(one).astype(float) - see(other).astype(float)).mean()


@pytest.mark.parametrize('digit', STROKES)
def test_a_shadow_across_a_digit_changes_little(digit):
    turn, soft = [(20, 0.001), (65, 0.02), (200, 0.08)][digit % 3]
    page = draw(digit, 400, place=(0.15, 0.2, 0.6))
    for dark in (0.35, 0.6, 0.85):
        photo = photograph(page, cast(400, turn, soft=soft, dark=dark))
        assert differ(photo, page) < 8, dark


@pytest.mark.parametrize('turn', [0, 45, 100, 250])
def test_a_shadow_beside_a_digit_is_none_of_it(turn):
    page = draw(3, 400, place=(0.25, 0.25, 0.5))
    assert differ(photograph(page, cast(400, turn, place=0.3)), page) < 8


def test_a_lamp_s_light_around_a_digit_changes_little():
    y, x = np.mgrid[:400, :400] / 400 - 0.5
    lamp = 0.35 + 0.65 * np.exp(-((x - 0.1) ** 2 + y**2) / 0.08)
    page = draw(8, 400, place=(0.15, 0.2, 0.6))
    assert differ(photograph(page, lamp), page) < 8


def test_chalk_in_a_shadow_is_read():
    page = draw(5, 400, paper=70, ink=230, place=(0.15, 0.2, 0.6))
    assert differ(photograph(page, cast(400, 30)), page) < 8


def test_a_pencil_as_bright_as_the_shadow_is_read():
    page = draw(2, 400, paper=230, ink=150, place=(0.15, 0.2, 0.6))
    assert differ(photograph(page, cast(400, 120, dark=0.65)), page) < 8


@pytest.mark.parametrize('turn', [0, 33, 90, 210])
@pytest.mark.parametrize('dark', [0.4, 0.6, 0.8])
def test_a_shadow_alone_is_nothing(turn, dark):
    page = np.full((300, 300), 230.0)
    with pytest.raises(UserError, match='sheet: found nothing drawn'):
        see(photograph(page, cast(300, turn, dark=dark)), 'sheet')


def test_flecks_one_step_brighter_are_nothing():
    page = np.full((1000, 1000), 254, np.uint8)
    page[40::83, 40::83] = 255
    with pytest.raises(UserError, match='it: found nothing drawn'):
        see(page, 'it')


@pytest.mark.parametrize('digit', STROKES)
def test_strokes_along_the_margin_are_no_shadow(digit):
    page = draw(digit, 300, pen=0.1)
    rows, columns = np.nonzero(page < 128)
    cropped = page[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # Their soft outer edge is cut off too.
    assert differ(cropped, page) < 8


@settings(max_examples=20)
@given(st.floats(0, 360), st.floats(-0.4, 0.4), st.floats(0.2, 0.9))
def test_light_alone_is_taken_away_to_the_pixel(turn, place, dark):
    brightness = 0.9 * cast(120, turn, place, dark=dark)
    np.testing.assert_allclose(light.take_shadows(brightness), 1, rtol=0, atol=0.02)


@pytest.mark.parametrize('degree', [1, 2])
def test_a_surface_is_fitted_and_what_stands_out_is_not(degree):
    y, x = np.mgrid[:60, :80] / 80
    surface = 0.3 + 0.4 * x - 0.2 * y + (degree - 1) * (x * y - 0.5 * x**2)
    marked = surface.copy()
    marked[20:30, 30:60] += 0.5
    np.testing.assert_allclose(light.fit_surface(marked, degree), surface, atol=1e-6)
