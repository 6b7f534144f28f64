"""From any picture of one digit to MNIST's format, and refusal of all others."""

import numpy as np
import pytest
from drawn_digits import STROKES, arc, differ, draw, draw_boxes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mnist_flax.common.errors import UserError
from mnist_flax.recognition.inputs import to_mnist_format


def extent(image):
    rows, columns = np.nonzero(image[..., 0] > 127)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


def test_the_format_is_mnist_s(mnist):
    image = to_mnist_format(draw(7))
    assert image.shape == (28, 28, 1)
    assert image.dtype == np.uint8
    assert image[0].max() == 0
    assert image.max() > 230
    assert 19 <= max(extent(image)) <= 20
    weights = image[..., 0] / image.sum()
    middle = (weights.sum(axis=1) @ np.arange(28), weights.sum(axis=0) @ np.arange(28))
    # As MNIST's own: the mean over its training images is 14.0 within hundredths.
    np.testing.assert_allclose(middle, 13.5, atol=0.6)
    own = mnist.test.images[:200]
    framed = np.stack([to_mnist_format(image) for image in own]).astype(float)
    assert np.abs(framed - own).mean() < 12  # of 255


@pytest.mark.parametrize(
    'digit',
    [of if of in (1, 8) else pytest.param(of, marks=pytest.mark.slow) for of in STROKES],
)
def test_colour_place_and_size_do_not_matter(digit):
    expected = draw(digit, size=600)
    for other in (
        {'paper': 30, 'ink': 230},
        {'paper': 140, 'ink': 110},
        {'place': (0.6, 0.05, 0.35)},
        {'place': (0.02, 0.7, 0.3)},
        {'size': 900},
    ):
        assert differ(draw(digit, **({'size': 600} | other)), expected) < 6, other


@settings(max_examples=30)
@given(
    angle=st.floats(0, 6.3),
    slope=st.floats(0, 0.6),
    curve=st.floats(-0.3, 0.3),
    noise=st.floats(0, 0.03),
    light=st.booleans(),
)
def test_uneven_light_and_rough_paper_do_not_matter(angle, slope, curve, noise, light):
    size = 200
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing='ij')
    ramp = (np.cos(angle) * x + np.sin(angle) * y) * slope / 2 - curve * (x**2 + y**2) / 4
    drawn = draw(4, size, paper=160, ink=60) / 255
    grain = noise * np.random.default_rng(0).normal(size=(size, size))
    page = np.clip(drawn + ramp / 2 + grain, 0, 1)
    page = page if light else 1 - page
    assert differ((255 * page).astype(np.uint8), draw(4, size)) < 8


def test_colours_that_are_equally_bright_are_distinguished():
    mask = draw(5, paper=0, ink=255)[..., None] / 255
    red, green = np.array([200, 40, 40]), np.array([40, 122, 40])
    assert differ((mask * red + (1 - mask) * green).astype(np.uint8), draw(5)) < 6


@pytest.mark.parametrize('pen', [0.005, 0.02, 0.06, 0.12, 0.2])
def test_pens_of_all_widths_give_strokes_like_mnist_s(pen, mnist):
    image = to_mnist_format(draw(7, size=800, pen=pen))
    covered = (mnist.train.images[mnist.train.labels == 7] > 127).mean(axis=(1, 2, 3))
    low, high = np.quantile(covered, [0.001, 0.999])
    assert low <= (image > 127).mean() <= high


@pytest.mark.parametrize('width', [1, 4, 10])
@pytest.mark.parametrize('shade', [30, 90])
def test_a_frame_is_left_out(width, shade):
    page = draw(4)
    assert differ(np.pad(page, width, constant_values=shade), page) < 3


def test_dirt_is_left_out():
    page = draw(4).copy()
    expected = to_mnist_format(page)
    page[5:8, 5:8] = 30
    page[190:193, 150:152] = 30
    np.testing.assert_array_equal(to_mnist_format(page), expected)


def test_a_five_may_have_its_bar_apart():
    cut = draw(5).copy()
    cut[35:43] = 230
    assert extent(to_mnist_format(cut))[0] >= 19
    image = Image.new('L', (200, 200), 255)
    canvas = ImageDraw.Draw(image)
    canvas.line([(70, 40), (140, 40)], fill=0, width=12)
    bow = [(75, 65), (72, 100), *arc(100, 125, 35, 32, -126, 138)]
    canvas.line(bow, fill=0, width=12)
    assert extent(to_mnist_format(np.asarray(image)))[0] == 20


def test_a_thick_coarse_digit_is_thinned_to_where_it_is_darkest():
    # An eight of 8x8 pixels, whose holes are no more than a lighter gray.
    half = [
        [0, 0, 8, 14, 14, 8, 0, 0],
        [0, 2, 16, 9, 9, 16, 2, 0],
        [0, 2, 16, 9, 9, 16, 2, 0],
        [0, 0, 10, 16, 16, 10, 0, 0],
    ]
    eight = np.array(half + half[::-1])
    image = to_mnist_format(np.pad(15 * eight, 2).astype(np.uint8))[..., 0].astype(int)
    holes = image[8:11, 13:15].mean(), image[18:21, 13:15].mean()
    strokes = image[8:11, 10:12].mean(), image[13:16, 13:15].mean()
    assert max(holes) < 0.8 * min(strokes)


def full(value, height=50, width=60):
    return np.full((height, width), value, np.uint8)


def draw_dot():
    page = full(255, 200, 200)
    page[100:102, 100:102] = 0
    return page


def draw_flecks():
    page = full(254, 1000, 1000)
    page[40::83, 40::83] = 255  # one step brighter
    return page


def draw_noise(size):
    rng, ramp = np.random.default_rng(0), np.linspace(100, 200, size)
    light = np.add.outer(ramp, ramp) / 2
    grain = rng.normal(0, 10, (size, size))
    return [light, 128 + grain, light + 0.3 * grain]


def draw_static(size):
    rng = np.random.default_rng(size)
    dots = [np.where(rng.random((size, size)) < part, 0, 255) for part in (0.05, 0.3, 0.5)]
    return [*dots, rng.integers(0, 256, (size, size))]


NOTHING = 'nothing is drawn in it; it should show one digit, in another brightness or'
TWO = '2 things are drawn apart from each other; it should show one digit'


@pytest.mark.parametrize(
    ('page', 'message'),
    [
        (full(0), NOTHING),
        (full(128), NOTHING),
        (full(255), NOTHING),
        (draw_flecks(), NOTHING),
        (draw_dot(), 'nothing is drawn in it but a dot'),
        (draw_boxes(0, 10, 16), NOTHING),
        (draw_boxes(0), NOTHING),
        (draw_boxes(45), NOTHING),
        # Too coarse for a sheet.
        (draw_boxes(0, 2, size=45, line=1), 'nothing is drawn within the frames in it'),
        (np.pad(full(0, 100, 100), 60, constant_values=255), NOTHING),
        (np.concatenate([draw(7), draw(5)], axis=1), TWO),
        (np.concatenate([draw(7), draw(5)], axis=0), TWO),
        *((page, '') for size in (28, 300) for page in draw_noise(size)),
        *((page, '') for size in (16, 28, 64, 128, 300) for page in draw_static(size)),
    ],
)
def test_what_is_not_one_digit_is_refused(page, message):
    with pytest.raises(UserError, match=f'^it: {message}'):
        to_mnist_format(page.clip(0, 255).astype(np.uint8), 'it')


@pytest.mark.parametrize('gap', [2, 10])
def test_digits_above_each_other_are_refused(gap):
    above, below = (page[(page < 128).any(axis=1)] for page in (draw(4), draw(7)))
    page = np.concatenate([above, full(230, gap, 200), below])
    with pytest.raises(UserError, match=TWO):
        to_mnist_format(np.pad(page, 20, constant_values=230))


@settings(max_examples=100)
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
        image = to_mnist_format(page, 'it')
    except UserError as error:
        assert str(error).startswith('it: ')
    else:
        assert image.max() > 0
