"""From pictures to predictions."""

import io
import multiprocessing
import pickle
from concurrent import futures

import jax.numpy as jnp
import numpy as np
import pytest
from clothes import load_clothes
from drawn_digits import draw
from PIL import Image

from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.recognition import inputs, recognizer
from mnist_flax.recognition.networks import PRETRAINED, Networks, load_networks


def test_digits_are_predicted_without_the_training_data(monkeypatch):
    monkeypatch.setattr(datasets, 'load_split', None)
    loaded = recognizer.load()
    for pen in (0.02, 0.06, 0.12):
        pages = [draw(digit, pen=pen) for digit in range(10)]
        predictions = loaded.predict(pages)
        assert [prediction.label for prediction in predictions] == [*range(10)]
    image, row = predictions[7].image, predictions[7].probabilities
    np.testing.assert_array_equal(image, inputs.to_mnist_format(pages[7]))
    assert (row.argmax(), row.max()) == (7, predictions[7].confidence)
    assert row[predictions[7].runner_up] == np.sort(row)[-2]
    assert loaded.predict([]) == []
    with pytest.raises(UserError, match='^2: nothing is drawn in it'):
        loaded.predict([draw(1), np.zeros((50, 50), np.uint8)])


def test_other_classes_get_the_whole_picture_resized():
    loaded = load_clothes()
    picture = np.zeros((280, 280, 3), np.uint8)
    picture[:, :140] = (255, 255, 0)  # yellow is light
    picture[140:, 140:] = 90
    (prediction,) = loaded.predict([picture])
    expected = np.zeros((28, 28, 1), np.uint8)
    expected[:, :14] = round(255 * (0.299 + 0.587))
    expected[14:, 14:] = 90
    inner = np.ix_([*range(13), *range(15, 28)], [*range(13), *range(15, 28)])
    np.testing.assert_array_equal(prediction.image[inner], expected[inner])
    row = loaded.networks.probabilities(prediction.image[None])[0]
    assert (prediction.label, prediction.confidence) == (row.argmax(), row.max())
    # What would not be a digit.
    assert len(loaded.predict([np.full((50, 60), 255, np.uint8)])) == 1
    with pytest.raises(UserError, match='^1: it is damaged or not a picture'):
        loaded.predict([b'shirt'])


def recognizer_of(noted, framing=None):
    """The networks of the package, with something else noted about their run."""
    networks = load_networks()
    own = Networks.__new__(Networks)
    vars(own).update(vars(networks), about={**networks.about, **noted})
    return recognizer.Recognizer(own, framing)


def test_digits_of_another_data_set_are_not_brought_into_mnist_s_format():
    """A user's own, of which nobody knows that they are centred, and light on black."""
    picture = np.zeros((56, 28), np.uint8)
    picture[10:20, 5:9] = 200
    whole = recognizer_of({'dataset': 'my_digits/1.0.0'}).to_input(picture)
    framed = recognizer_of({}).to_input(picture)
    assert whole[:, :7].max() == 0  # padded
    np.testing.assert_array_equal(whole[6:9, 10:11], 200)
    assert (whole != framed).any()


@pytest.mark.parametrize(
    ('noted', 'framing', 'expected'),
    [
        ({}, None, 'mnist'),
        ({'dataset': 'emnist/letters/3.1.0', 'class_names': ['A', 'B']}, None, 'mnist'),
        ({'dataset': 'kmnist/3.0.1'}, None, 'pad'),
        ({'dataset': 'kmnist/3.0.1'}, 'mnist', 'mnist'),
        ({'dataset': 'mine/1.0.0', 'framing': 'mnist'}, None, 'mnist'),
        ({'dataset': 'mine/1.0.0', 'framing': 'stretch'}, None, 'stretch'),
        ({'dataset': 'mine/1.0.0', 'framing': 'stretch'}, 'pad', 'pad'),
    ],
)
def test_pictures_are_framed_as_those_of_the_training_were(noted, framing, expected):
    assert recognizer_of(noted, framing).framing == expected


def test_a_framing_that_is_not_known_is_refused_unless_another_is_chosen():
    for odd in ('crop', ['mnist'], None):
        with pytest.raises(UserError, match='^--workdir: its networks take pictures by'):
            recognizer_of({'framing': odd})
        assert recognizer_of({'framing': odd}, 'pad').framing == 'pad'


def test_what_is_in_mnist_s_format_is_not_framed_again(mnist):
    loaded = recognizer.load()
    for image in mnist.test.images[:200]:
        np.testing.assert_array_equal(loaded.to_input(image), image)
    larger = mnist.test.images[0].repeat(2, axis=0).repeat(2, axis=1)
    moved = np.roll(mnist.test.images[0], 3, axis=0)
    for other in (larger, moved, 255 - mnist.test.images[0]):
        seen = loaded.to_input(other)
        np.testing.assert_array_equal(seen, inputs.to_mnist_format(other))


@pytest.mark.parametrize(
    ('edges', 'background', 'doubt'),
    [
        ([0.0, 0.0], 255, 'its edge is light, and that of the training images was dark'),
        ([0.0, 0.0], 60, ''),
        ([200.0, 255.0], 20, 'its edge is dark, and that of the training images was light'),
        ([0.0, 255.0], 255, ''),
        (None, 255, ''),
    ],
)
def test_a_picture_with_another_background_is_doubted(edges, background, doubt):
    noted = {'dataset': 'kmnist/3.0.1', 'edges': edges}
    loaded = recognizer_of(noted)
    picture = np.full((60, 40), background, np.uint8)
    picture[20:40, 10:30] = 255 - background
    assert loaded.explain_doubt(loaded.to_input(picture)) == doubt
    assert recognizer_of(noted, 'mnist').explain_doubt(loaded.to_input(picture)) == ''


def test_one_picture_or_several_are_taken_as_people_have_them(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    pixels = draw(3)
    image = Image.fromarray(pixels)
    image.save(tmp_path / '3.png')
    content = (tmp_path / '3.png').read_bytes()
    loaded = recognizer.load()
    (expected,) = loaded.predict([pixels])
    for one in (
        tmp_path / '3.png', str(tmp_path / '3.png'), '~/3.png', content,
        bytearray(content), image, image.convert('RGBA'), pixels, jnp.asarray(pixels),
    ):  # fmt: skip
        for sources in (one, [one], (one, one)):
            found = loaded.predict(sources)
            assert len(found) == (2 if isinstance(sources, tuple) else 1)
            for prediction in found:
                np.testing.assert_array_equal(prediction.image, expected.image)
    assert len(loaded.predict(np.stack([pixels] * 5))) == 5
    assert loaded.predict([]) == []
    names = np.array([str(tmp_path / '3.png')] * 2)
    assert len(loaded.predict(names)) == 2
    assert len(loaded.predict(memoryview(content))) == 1
    for wrong in (3, [3], [None], [pixels / 255], {'a': 1}):
        with pytest.raises((UserError, TypeError)) as info:
            loaded.predict(wrong)
        assert '\n' not in str(info.value)


@pytest.mark.slow
def test_it_can_be_sent_to_another_process():
    loaded = recognizer.load(PRETRAINED.parent / 'default', framing='pad')
    (expected,) = loaded.predict([draw(3)])
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        (found,) = pool.submit(recognizer.Recognizer.predict, loaded, [draw(3)]).result()
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert pickle.loads(pickle.dumps(loaded)).framing == 'pad'


def test_images_from_0_to_1_are_refused_and_not_divided_again():
    networks = load_networks()
    images = np.zeros((2, 28, 28, 1), np.float32)
    compute = networks.probabilities
    for wrong in (images, images.astype(np.uint8)[..., 0], images.astype(np.uint8)[0]):
        with pytest.raises(
            UserError, match='the images are .*; they must be uint8, from 0'
        ):
            compute(wrong)
    with pytest.raises(UserError, match='the images are float32'):
        recognizer.load().predict_inputs.__wrapped__(recognizer.load(), [*images])
    np.testing.assert_array_equal(
        compute(jnp.zeros((2, 28, 28, 1), jnp.uint8)), compute(images.astype(np.uint8))
    )


def test_an_image_of_pillow_s_is_read_as_its_file_is_and_stays_as_it_was(tmp_path):
    loaded = load_clothes()  # to which whole pictures are shown
    gray = np.linspace(20_000, 24_000, 50 * 50).reshape(50, 50).astype(np.uint16)
    large = np.zeros((3000, 4000, 3), np.uint8)
    for name, pixels in (('16.png', gray), ('large.jpg', large)):
        Image.fromarray(pixels).save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            size = image.size
            found = loaded.to_input(image)
            np.testing.assert_array_equal(found, loaded.to_input(tmp_path / name))
            assert image.size == size
    content = (tmp_path / 'large.jpg').read_bytes()
    with pytest.raises(UserError, match='picture: the image cannot be used '):
        loaded.to_input(Image.open(io.BytesIO(content[:2000])))
