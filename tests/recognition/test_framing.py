"""From any picture of a digit to MNIST's own form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mnist_flax.common.errors import UserError
from mnist_flax.recognition.recognizer import see


def arc(x, y, width, height, start, end):
    """Points of an ellipse, between two angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 24))
    return [(x + width * np.cos(a), y + height * np.sin(a)) for a in angles]


# Strokes as a person's, in a unit square, x to the right and y down.
STROKES = {
    0: [arc(0.5, 0.5, 0.2, 0.35, -90, 270)],
    1: [[(0.4, 0.3), (0.55, 0.15), (0.55, 0.85)]],
    2: [[*arc(0.5, 0.33, 0.19, 0.18, 190, 390), (0.3, 0.85), (0.72, 0.85)]],
    3: [[*arc(0.48, 0.32, 0.19, 0.17, 210, 440), *arc(0.48, 0.66, 0.21, 0.19, 280, 510)]],
    4: [[(0.45, 0.15), (0.3, 0.55), (0.7, 0.55)], [(0.6, 0.35), (0.6, 0.85)]],
    5: [[(0.36, 0.15), (0.34, 0.46), *arc(0.46, 0.64, 0.2, 0.19, 250, 500)],
        [(0.36, 0.15), (0.68, 0.15)]],
    6: [[(0.6, 0.15), (0.42, 0.35), *arc(0.5, 0.65, 0.19, 0.19, 190, 550)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)]],
    8: [arc(0.5, 0.32, 0.16, 0.16, 90, 450), arc(0.5, 0.67, 0.19, 0.19, -90, 270)],
    9: [[*arc(0.5, 0.35, 0.18, 0.18, 0, 360), (0.66, 0.6), (0.6, 0.85)]],
}  # fmt: skip


def draw(digit, size=200, pen=0.06, paper=230, ink=30, place=(0, 0, 1)):
    """Draws a digit; ``place`` is its corner and size, as parts of the picture's."""
    x, y, scale = place
    image = Image.new('L', (4 * size, 4 * size), paper)
    canvas = ImageDraw.Draw(image)
    for stroke in STROKES[digit]:
        points = [
            (4 * size * (x + scale * a), 4 * size * (y + scale * b)) for a, b in stroke
        ]
        width = round(4 * size * scale * pen)
        canvas.line(points, fill=ink, width=width, joint='curve')
        for a, b in points:
            box = (a - width / 2, b - width / 2, a + width / 2, b + width / 2)
            canvas.ellipse(box, fill=ink)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def extent(image):
    rows, columns = np.nonzero(image[..., 0] > 127)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


def test_it_is_of_mnist_s_form(mnist):
    image = see(draw(7))
    assert image.shape == (28, 28, 1)
    assert image.dtype == np.uint8
    assert image[0].max() == 0
    assert image.max() > 230
    assert 19 <= max(extent(image)) <= 20
    weights = image[..., 0] / image.sum()
    middle = (weights.sum(axis=1) @ np.arange(28), weights.sum(axis=0) @ np.arange(28))
    # As MNIST's own: the mean over its training images is 14.0 within hundredths.
    np.testing.assert_allclose(middle, 13.5, atol=0.6)


def test_mnist_s_own_images_stay_what_they_are(mnist):
    images = mnist.test.images[:200]
    framed = np.stack([see(image) for image in images]).astype(float)
    assert np.abs(framed - images).mean() < 12  # of 255


@pytest.mark.parametrize(
    'other',
    [
        {'paper': 30, 'ink': 230},
        {'paper': 140, 'ink': 110},
        {'place': (0.6, 0.05, 0.35)},
        {'place': (0.02, 0.7, 0.3)},
        {'size': 900},
    ],
    ids=['light on dark', 'faint', 'small, top right', 'small, bottom left', 'large'],
)
@pytest.mark.parametrize('digit', STROKES)
def test_it_does_not_depend_on_colour_place_and_size(digit, other):
    expected = see(draw(digit, size=600)).astype(float)
    found = see(draw(digit, **({'size': 600} | other))).astype(float)
    assert np.abs(found - expected).mean() < 6  # of 255


@settings(max_examples=30)
@given(
    angle=st.floats(0, 6.3),
    slope=st.floats(0, 0.6),
    curve=st.floats(-0.3, 0.3),
    noise=st.floats(0, 0.03),
    light=st.booleans(),
)
def test_uneven_light_and_rough_paper_are_taken_away(angle, slope, curve, noise, light):
    size = 200
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing='ij')
    ramp = (np.cos(angle) * x + np.sin(angle) * y) * slope / 2 - curve * (x**2 + y**2) / 4
    drawn = draw(4, size, paper=160, ink=60) / 255
    grain = noise * np.random.default_rng(0).normal(size=(size, size))
    page = np.clip(drawn + ramp / 2 + grain, 0, 1)
    page = page if light else 1 - page
    found = see((255 * page).astype(np.uint8)).astype(float)
    assert np.abs(found - see(draw(4, size)).astype(float)).mean() < 8


def test_colours_that_are_equally_bright_are_told_apart():
    mask = draw(5, paper=0, ink=255)[..., None] / 255
    red, green = np.array([200, 40, 40]), np.array([40, 122, 40])
    picture = (mask * red + (1 - mask) * green).astype(np.uint8)
    difference = see(picture).astype(float) - see(draw(5))
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize('pen', [0.005, 0.02, 0.06, 0.12, 0.2])
def test_pens_of_all_widths_give_strokes_like_mnist_s(pen, mnist):
    image = see(draw(7, size=800, pen=pen))
    share = (mnist.train.images[mnist.train.labels == 7] > 127).mean(axis=(1, 2, 3))
    low, high = np.quantile(share, [0.001, 0.999])
    assert low <= (image > 127).mean() <= high


@pytest.mark.parametrize('value', [0, 128, 255])
def test_an_empty_picture_is_said_not_guessed(value):
    with pytest.raises(UserError, match='sheet: found nothing drawn'):
        see(np.full((50, 60), value, np.uint8), 'sheet')


def test_grain_and_light_alone_are_nothing():
    rng = np.random.default_rng(0)
    for size in (28, 300):
        ramp = np.linspace(100, 200, size)
        for page in (
            rng.normal(128, 10, (size, size)),
            np.add.outer(ramp, ramp) / 2,
            np.add.outer(ramp, ramp) / 2 + rng.normal(0, 3, (size, size)),
        ):
            with pytest.raises(UserError, match='sheet: found'):
                see(page.clip(0, 255).astype(np.uint8), 'sheet')


@pytest.mark.parametrize('gap', ['side', 'below'])
def test_several_digits_are_said_not_guessed(gap):
    one, other = draw(7), draw(5)
    both = np.concatenate([one, other], axis=1 if gap == 'side' else 0)
    with pytest.raises(UserError, match='it: found 2 things drawn apart from each other'):
        see(both, 'it')


@pytest.mark.parametrize('width', [1, 4, 10])
@pytest.mark.parametrize('shade', [30, 90])
def test_a_frame_is_left_out(width, shade):
    page = draw(4)
    expected = see(page).astype(float)
    framed = np.pad(page, width, constant_values=shade)
    assert np.abs(see(framed) - expected).mean() < 3


def test_a_dot_is_said_not_guessed():
    page = np.full((200, 200), 255, np.uint8)
    page[100:102, 100:102] = 0
    with pytest.raises(UserError, match='it: found nothing drawn but a dot; allowed: one'):
        see(page, 'it')


def test_dirt_is_left_out():
    page = draw(4).copy()
    expected = see(page)
    page[5:8, 5:8] = 30
    page[190:193, 150:152] = 30
    np.testing.assert_array_equal(see(page), expected)


def test_a_digit_of_two_parts_is_one():
    page = draw(5).copy()
    page[35:43] = 230  # takes the bar off
    assert extent(see(page))[0] >= 19


@settings(max_examples=150)
@given(
    st.integers(8, 60),
    st.integers(8, 60),
    st.sampled_from([1, 2, 3, 8]),
    st.randoms(use_true_random=False),
)
def test_anything_is_an_image_or_one_line(height, width, block, random):
    page = np.frombuffer(random.randbytes(height * width), np.uint8)
    # Blocks of pixels, and 500 of them each way, so that no rule for static ends it early.
    page = np.kron(page.reshape(height, width), np.ones((block, block), np.uint8))
    try:
        image = see(page, 'it')
    except UserError as error:
        assert str(error).startswith('it: found ')
    else:
        assert image.max() > 0


def test_a_thick_coarse_digit_is_taken_from_its_darkest_part():
    # An eight of 8x8 pixels, whose holes are no more than a lighter gray.
    eight = np.array(
        [
            [0, 0, 8, 14, 14, 8, 0, 0],
            [0, 2, 16, 9, 9, 16, 2, 0],
            [0, 2, 16, 9, 9, 16, 2, 0],
            [0, 0, 10, 16, 16, 10, 0, 0],
            [0, 0, 10, 16, 16, 10, 0, 0],
            [0, 2, 16, 9, 9, 16, 2, 0],
            [0, 2, 16, 9, 9, 16, 2, 0],
            [0, 0, 8, 14, 14, 8, 0, 0],
        ]
    )
    image = see(np.pad(15 * eight, 2).astype(np.uint8))[..., 0].astype(int)
    holes = image[8:11, 13:15].mean(), image[18:21, 13:15].mean()
    strokes = image[8:11, 10:12].mean(), image[13:16, 13:15].mean()
    assert max(holes) < 0.8 * min(strokes)


@pytest.mark.parametrize('size', [16, 28, 64, 128, 300])
def test_static_is_no_digit(size):
    rng = np.random.default_rng(size)
    dots = [np.where(rng.random((size, size)) < part, 0, 255) for part in (0.05, 0.3, 0.5)]
    for page in (*dots, rng.integers(0, 256, (size, size))):
        with pytest.raises(UserError, match='static: found '):
            see(page.astype(np.uint8), 'static')


@pytest.mark.parametrize(
    ('size', 'margins', 'what'),
    [
        (200, (0, 10, 16), 'nothing drawn'),
        (200, (0,), 'nothing drawn'),
        (200, (16,), 'nothing drawn'),
        (200, (45,), 'nothing drawn'),
        (45, (0, 2), 'frames with nothing in them'),  # too coarse for a sheet
    ],
)
def test_frames_with_nothing_in_them_are_said(size, margins, what):
    image = Image.new('L', (size, size), 255)
    for margin in margins:
        box = (margin, margin, size - 1 - margin, size - 1 - margin)
        ImageDraw.Draw(image).rectangle(box, outline=0, width=max(1, size // 100))
    with pytest.raises(UserError, match=f'it: found {what}; allowed: '):
        see(np.asarray(image), 'it')


@pytest.mark.parametrize('gap', [2, 10])
def test_digits_above_each_other_are_said(gap):
    def crop(digit):
        page = draw(digit)
        rows = np.flatnonzero((page < 128).any(axis=1))
        return page[rows[0] : rows[-1] + 1]

    space = np.full((gap, 200), 230, np.uint8)
    page = np.concatenate([crop(4), space, crop(7)])
    with pytest.raises(UserError, match='found 2 things drawn apart'):
        see(np.pad(page, 20, constant_values=230))


def test_a_five_s_bar_may_be_above_it():
    image = Image.new('L', (200, 200), 255)
    canvas = ImageDraw.Draw(image)
    canvas.line([(70, 40), (140, 40)], fill=0, width=12)
    canvas.line([(75, 65), (72, 100), *[(100 + 35 * np.cos(a), 125 + 32 * np.sin(a))
        for a in np.linspace(-2.2, 2.4, 20)]], fill=0, width=12)  # fmt: skip
    assert extent(see(np.asarray(image)))[0] == 20
