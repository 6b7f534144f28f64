"""The augmentation: each amount does what it says, uniformly up to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_flax.common import backend
from mnist_flax.common.errors import UserError
from mnist_flax.data import augment
from mnist_flax.data.augment import Deformation

OFF = dict.fromkeys(('rotation', 'scale', 'shear', 'shift', 'elastic', 'erase'), 0.0)
EVERYTHING = dict(zip(OFF, (15.0, 0.2, 0.2, 2.0, 1.0, 0.5), strict=True))


def apply(amounts, image, num, strength=1.0, seed=0):
    """Augments an image in ``num`` ways."""
    keys = jax.random.split(jax.random.key(seed), num)
    transform = augment.create_augment(**{**OFF, **amounts})
    return jax.jit(jax.vmap(transform, (0, None, None)))(keys, image, jnp.float32(strength))


def centres_of_mass(images):
    pixels = jnp.indices(images.shape[1:3])
    mass = images[..., 0].sum((1, 2))
    return jnp.stack([(images[..., 0] * axis).sum((1, 2)) / mass for axis in pixels])


@pytest.fixture(scope='module')
def digit(mnist):
    return jnp.asarray(mnist.train.images[0]) / 255.0


def blob(height, width):
    """An ellipse, so smooth that interpolation moves it without changing it."""
    rows, columns = np.indices((28, 28)) - 13.5
    pixels = np.exp(-((rows / height) ** 2) - (columns / width) ** 2)
    return jnp.asarray(pixels[..., None], jnp.float32)


DISC, BAR = blob(5, 5), blob(8, 2)


def test_all_amounts_of_0_are_no_augmentation():
    assert augment.create_augment(**OFF) is None


@pytest.mark.parametrize('name', [*OFF, 'everything'])
def test_each_amount_changes_the_image_by_its_key_and_at_strength_0_not_at_all(digit, name):
    amounts = EVERYTHING if name == 'everything' else {name: EVERYTHING[name]}
    results = apply(amounts, digit, 3)
    assert float(jnp.abs(results - digit).max()) > 0.05
    assert float(jnp.abs(results[0] - results[1]).max()) > 0.05
    np.testing.assert_array_equal(results, apply(amounts, digit, 3))
    unchanged = apply(amounts, digit, 3, strength=0.0)
    np.testing.assert_allclose(unchanged, jnp.stack([digit] * 3), atol=1e-6)


@settings(max_examples=25)
@given(
    amounts=st.fixed_dictionaries({name: st.floats(0, EVERYTHING[name]) for name in OFF}),
    strength=st.floats(0, 2),
    seed=st.integers(0, 2**31),
)
def test_shape_and_range_stay(amounts, strength, seed):
    random = np.random.default_rng(seed)
    image = jnp.asarray(random.uniform(size=(28, 28, 1)), jnp.float32)
    result = Deformation(**amounts)(jax.random.key(seed), image, jnp.float32(strength))
    assert result.shape == image.shape
    assert result.dtype == image.dtype
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1 + 1e-5


def test_shifts_are_uniform_around_no_shift_and_strength_multiplies_them():
    moved = np.asarray(centres_of_mass(apply({'shift': 3.0}, DISC, 2000))) - 13.5
    # Of a uniform number between -3 and 3: mean 0 (standard error 0.04), deviation √3.
    np.testing.assert_allclose(moved.mean(axis=1), 0, atol=0.13)
    np.testing.assert_allclose(moved.std(axis=1), 3**0.5, rtol=0.05)
    assert np.abs(moved).max() == pytest.approx(3, abs=0.1)
    half = centres_of_mass(apply({'shift': 3.0}, DISC, 2000, strength=0.5)) - 13.5
    np.testing.assert_allclose(half, moved / 2, atol=0.05)


def second_moments(images):
    rows, columns = (axis - 13.5 for axis in jnp.indices((28, 28)))
    weights = images[..., 0] / images[..., 0].sum((1, 2), keepdims=True)
    return [(weights * a * b).sum((1, 2)) for a, b in
            ((rows, rows), (columns, columns), (rows, columns))]  # fmt: skip


def test_rotations_turn_about_the_middle_by_at_most_the_angle():
    results = apply({'rotation': 20.0}, BAR, 500)
    np.testing.assert_allclose(centres_of_mass(results), 13.5, atol=0.05)
    rows, columns, mixed = second_moments(results)
    angles = np.degrees(0.5 * np.arctan2(2 * mixed, rows - columns))
    assert np.abs(angles).max() == pytest.approx(20, abs=0.5)
    assert angles.mean() == pytest.approx(0, abs=2)
    assert angles.std() == pytest.approx(20 / 3**0.5, rel=0.1)


def test_scale_changes_height_and_width_each_by_itself():
    rows, columns, mixed = second_moments(apply({'scale': 0.2}, DISC, 500))
    usual, *_ = second_moments(DISC[None])
    factors = np.sqrt(np.stack([rows, columns]) / usual)
    # Sizes are divided by 1 ± 0.2, as it is the places that are multiplied.
    assert factors.min() == pytest.approx(1 / 1.2, rel=0.02)
    assert factors.max() == pytest.approx(1 / 0.8, rel=0.02)
    assert abs(np.corrcoef(factors)[0, 1]) < 0.15
    np.testing.assert_allclose(mixed, 0, atol=0.05)


def test_shear_slides_rows_and_keeps_the_height():
    results = apply({'shear': 0.3}, BAR, 500)
    rows, _, mixed = second_moments(results)
    slopes = np.asarray(mixed / rows)
    assert np.abs(slopes).max() == pytest.approx(0.3, abs=0.02)
    assert slopes.mean() == pytest.approx(0, abs=0.03)
    np.testing.assert_allclose(rows, second_moments(BAR[None])[0][0], rtol=0.02)


def test_smooth_noise_has_variance_1_and_is_smooth():
    keys = jax.random.split(jax.random.key(0), 2000)
    noise = np.asarray(jax.vmap(lambda key: augment.smooth_noise(key, 28, 20))(keys))
    assert noise.shape == (2000, 2, 28, 20)
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=0.2)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.12)
    neighbours = (noise[..., 1:, :] * noise[..., :-1, :]).mean()
    far = (noise[..., 20:, :] * noise[..., :-20, :]).mean()
    assert neighbours > 0.95
    assert abs(far) < 0.05
    # One way and the other are independent.
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.05


def test_erased_rectangles_have_the_expected_area_everywhere():
    keys = jax.random.split(jax.random.key(0), 4000)
    masks = np.asarray(
        jax.vmap(lambda key: augment.random_rectangle(key, 28, 20, 0.5))(keys)
    )[..., 0]
    # Height and width are uniform up to a half, each by itself: a sixteenth of the area.
    assert masks.mean() == pytest.approx(1 / 16, rel=0.1)
    assert masks.any(axis=(1, 2)).mean() > 0.8
    assert masks.any(axis=2).sum(axis=1).max() <= 15
    assert masks.any(axis=1).sum(axis=1).max() <= 11
    assert masks.any(axis=0).all()
    for mask in masks[:50]:  # a rectangle is the product of its sides
        np.testing.assert_array_equal(mask, mask.any(1)[:, None] & mask.any(0))


@pytest.mark.parametrize('name', OFF)
@pytest.mark.parametrize('amount', [-0.1, 1000.0, float('nan')])
def test_senseless_amounts_are_refused(name, amount):
    message = f'config.augment.{name}: found {amount}; allowed: 0 to '
    with pytest.raises(UserError, match=message):
        augment.create_augment(**{**OFF, name: amount})


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_tpus_interpolation_is_the_same(shape, seed):
    """Also at places outside of the image."""
    random = np.random.default_rng(seed)
    image = jnp.asarray(random.random(shape), jnp.float32)
    places = jnp.asarray(random.uniform(-3, 12, (2, *shape[:2])), jnp.float32)
    expected = jax.jit(augment.interpolate)(image, list(places))
    actual = jax.jit(augment.interpolate_by_products)(image, list(places))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_tpu_augments_without_gathering(digit):
    """Which takes it 24 times the rest of a step."""
    transform = augment.create_augment(**EVERYTHING)
    arguments = jax.random.key(0), digit, 1.0
    assert 'gather' in str(jax.make_jaxpr(transform)(*arguments))
    with backend.assume(backend.Described((), 'tpu', 0.0)):
        jaxpr = jax.make_jaxpr(transform)(*arguments)
    assert 'gather' not in str(jaxpr)
