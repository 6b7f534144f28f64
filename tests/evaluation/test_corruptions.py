"""Corruptions of images: as strong as they say, and the same for the same key."""

import jax
import numpy as np
import pytest

from mnist_flax.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

KEY = jax.random.key(7)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_severities_are_in_order_and_the_key_decides(name, mnist):
    images = mnist.test.images[:64]
    corrupted = [corrupt(name, severity, KEY, images) for severity in SEVERITIES]
    distances = [np.abs(images - of.astype(float)).mean() for of in corrupted]
    assert distances[0] > 1
    assert distances == sorted(distances)
    np.testing.assert_array_equal(corrupt(name, 3, KEY, images), corrupted[2])
    other = corrupt(name, 3, jax.random.key(8), images)
    assert (other != corrupted[2]).any() == (name not in ('blur', 'contrast'))


def dot(row):
    image = np.zeros((8, 28, 28, 1), np.uint8)
    image[:, row, 14] = 255
    return image


def centres_of_mass(images):
    weights = images[..., 0] / images.sum(axis=(1, 2, 3))[:, None, None]
    return np.stack([weights.sum(axis=axis) @ range(28) for axis in (2, 1)], axis=1)


def test_a_shift_is_as_long_as_it_says_each_in_its_own_direction():
    moved = centres_of_mass(corrupt('shift', 5, KEY, dot(14))) - 14
    np.testing.assert_allclose(np.hypot(*moved.T), 6, atol=0.05)
    assert len(np.unique(moved, axis=0)) == 8


def test_a_rotation_is_as_wide_as_it_says():
    down, right = (centres_of_mass(corrupt('rotation', 3, KEY, dot(6))) - 13.5).T
    angles = np.degrees(np.arctan2(right, -down))
    np.testing.assert_allclose(np.abs(angles), 30 + np.degrees(0.5 / 7.5), atol=8)
    np.testing.assert_allclose(np.hypot(down, right), np.hypot(7.5, 0.5), atol=0.2)


def test_a_scale_is_either_way():
    square = np.zeros((40, 28, 28, 1), np.uint8)
    square[:, 8:20, 8:20] = 255
    areas = corrupt('scale', 5, KEY, square).astype(float).sum(axis=(1, 2, 3)) / 255 / 144
    assert {round(float(area), 1) for area in areas} <= {0.2, 0.3, 4.0}
    assert len({round(float(area)) for area in areas}) == 2


def test_contrast_noise_and_occlusion_are_as_strong_as_they_say():
    white = np.full((200, 28, 28, 1), 255, np.uint8)
    assert (corrupt('contrast', 2, KEY, white) == 128).all()
    noise = corrupt('noise', 1, KEY, white // 2) / 255 - 0.5
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    black = (corrupt('occlusion', 2, KEY, white) == 0).sum(axis=(1, 2, 3))
    assert black.max() == 36
    assert black.mean() == pytest.approx(36, abs=3)  # some leave the image in part
