import jax
import numpy as np
import pytest

from mnist_flax.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

KEY = jax.random.key(7)


@pytest.fixture(scope='module')
def images(mnist):
    return mnist.test.images[:64]


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_more_severe_is_further_from_the_original(name, images):
    distances = [
        np.abs(corrupt(name, severity, KEY, images) - images.astype(float)).mean()
        for severity in SEVERITIES
    ]
    assert distances[0] > 1
    assert distances == sorted(distances)
    assert len(CORRUPTIONS[name].amounts) == len(SEVERITIES)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_the_key_settles_it(name, images):
    once, again = (corrupt(name, 3, KEY, images) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    other = corrupt(name, 3, jax.random.key(8), images)
    assert (other != once).any() == (name not in ('blur', 'contrast'))


def test_images_are_made_worse_each_in_its_own_way(images):
    same = np.repeat(images[:1], 8, axis=0)
    shifted = corrupt('shift', 4, KEY, same)
    assert len(np.unique(shifted, axis=0)) == 8


def dot(row=14, column=14):
    image = np.zeros((1, 28, 28, 1), np.uint8)
    image[0, row, column] = 255
    return image


def centre_of_mass(image):
    weights = image[0, :, :, 0] / image.sum()
    return np.array([(weights.sum(axis=1) @ range(28)), (weights.sum(axis=0) @ range(28))])


def test_a_shift_is_as_long_as_it_says():
    moved = centre_of_mass(corrupt('shift', 5, KEY, dot())) - 14
    assert np.hypot(*moved) == pytest.approx(6, abs=0.05)


def test_a_rotation_is_as_wide_as_it_says():
    moved = centre_of_mass(corrupt('rotation', 3, KEY, dot(row=6))) - 13.5
    angle = np.degrees(np.arctan2(moved[1], -moved[0]))
    assert abs(angle) == pytest.approx(30 + np.degrees(0.5 / 7.5), abs=8)
    assert np.hypot(*moved) == pytest.approx(np.hypot(7.5, 0.5), abs=0.2)


def test_a_scale_is_either_way():
    square = np.zeros((40, 28, 28, 1), np.uint8)
    square[:, 8:20, 8:20] = 255
    areas = corrupt('scale', 5, KEY, square).astype(float).sum(axis=(1, 2, 3)) / 255 / 144
    assert {round(float(area), 1) for area in areas} <= {0.2, 0.3, 4.0}
    assert len({round(float(area)) for area in areas}) == 2


def test_contrast_dims_and_noise_is_as_strong_as_it_says():
    white = np.full((1, 28, 28, 1), 255, np.uint8)
    assert (corrupt('contrast', 2, KEY, white) == 128).all()
    gray = np.full((50, 28, 28, 1), 128, np.uint8)
    noise = corrupt('noise', 1, KEY, gray) / 255 - 0.5
    assert noise.std() == pytest.approx(0.1, rel=0.02)


def test_an_occlusion_is_a_black_square():
    white = np.full((200, 28, 28, 1), 255, np.uint8)
    black = (corrupt('occlusion', 2, KEY, white) == 0).sum(axis=(1, 2, 3))
    assert black.max() == 36
    assert black.mean() == pytest.approx(36, abs=3)  # some leave the image in part
