"""The augmentation for other people's handwriting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_flax.common.errors import UserError
from mnist_flax.data.datasets import normalize
from mnist_flax.recognition.handwriting import Handwriting, create_handwriting

NONE = {
    'rotation': 0.0, 'scale': 0.0, 'shear': 0.0, 'shift': 0.0, 'elastic': 0.0,
    'erase': 0.0, 'blur': 0.0, 'pen': 0.0,
}  # fmt: skip


@pytest.fixture(scope='module')
def images(mnist):
    return normalize(jnp.asarray(mnist.train.images[:64]))


def change(augment, images, strength=1.0):
    keys = jax.random.split(jax.random.key(0), len(images))
    return jax.vmap(augment, (0, 0, None))(keys, images, jnp.float32(strength))


def test_at_no_strength_nothing_changes(images):
    augment = create_handwriting(**dict.fromkeys(NONE, 0.4))
    np.testing.assert_allclose(change(augment, images, 0.0), images, atol=1e-5)


def test_pens_make_strokes_thinner_and_thicker_and_stay_in_bounds(images):
    changed = change(Handwriting(None, 0.0, 0.4), images)
    ratio = (changed > 0.5).sum(axis=(1, 2, 3)) / (images > 0.5).sum(axis=(1, 2, 3))
    assert ratio.min() < 0.9
    assert ratio.max() > 1.1
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_paper_stays_black_and_ink_white():
    for brightness in (0.0, 1.0):
        page = jnp.full((64, 28, 28, 1), brightness)
        changed = change(Handwriting(None, 1.2, 0.4), page)
        np.testing.assert_allclose(changed, page, atol=1e-5)


def test_a_blur_rounds_corners_and_keeps_edges_steep(images):
    changed = change(Handwriting(None, 1.5, 0.0), images)
    # A plain blur of that width would leave twice as much between black and white.
    gray = ((changed > 0.1) & (changed < 0.9)).mean()
    assert gray < 1.6 * ((images > 0.1) & (images < 0.9)).mean()
    assert jnp.abs(changed - images).mean() > 0.01


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_each_image_has_its_own_pen_from_its_key(images, seed, strength):
    augment = jax.jit(Handwriting(None, 1.0, 0.3))
    one, other = jax.random.split(jax.random.key(seed))
    first = augment(one, images[0], strength)
    np.testing.assert_array_equal(first, augment(one, images[0], strength))
    if strength > 0.1:
        assert (first != augment(other, images[0], strength)).any()


@pytest.mark.parametrize(
    ('field', 'value'), [('blur', 5.0), ('blur', -1.0), ('pen', 0.6), ('rotation', 181.0)]
)
def test_amounts_that_leave_no_digit_are_refused(field, value):
    with pytest.raises(UserError, match=f'config.augment.{field}: found .*; allowed: 0 to'):
        create_handwriting(**(NONE | {field: value}))
