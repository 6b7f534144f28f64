"""Images of any size, gray or in colours, are trained on, used and exported."""

import io
import json

import numpy as np
import pytest
import tfds_directory
from PIL import Image, ImageDraw

from configs import default
from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.evaluation import evaluation
from mnist_flax.export import export
from mnist_flax.preparation.prepare import Settings, prepare
from mnist_flax.preparation.sources import Options
from mnist_flax.recognition import recognizer
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate

CLASSES = 3


def make_images(shape, number=120):
    """Images with a bright bar at a place that tells their class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, number)
    images = random.integers(0, 60, (number, *shape))
    bar = shape[0] // CLASSES
    for image, label in zip(images, labels, strict=True):
        image[label * bar : (label + 1) * bar, 1:-1] += 180
    return images.astype(np.uint8), labels


def configure(root, **model):
    config = default.get_config()
    config.update({'num_epochs': 8, 'batch_size': 20, 'num_devices': 1})
    config.optimizer.learning_rate = 5e-3
    config.dataset.update({'name': 'bars', 'data_dir': str(root)})
    config.model.update({'features': (4,), 'hidden_size': 16, **model})
    return config


def as_picture(image):
    """A PNG of a larger copy."""
    pixels = image.repeat(9, axis=0).repeat(9, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, 'png')
    return buffer.getvalue()


def check_all(tmp_path, shape, with_corruptions, **model):
    images, labels = make_images(shape)
    root = tmp_path / 'tfds'
    tfds_directory.write(root, 'bars', images, labels, num_classes=CLASSES)
    workdir = str(tmp_path / 'run')
    result = train_and_evaluate(configure(root, **model), workdir)
    (run,) = result.runs
    assert run.history['test_accuracy'][-1] > 0.95
    assert run.apply(images[:2]).shape == (2, CLASSES)
    # The number of classes is that of the data, and noted.
    assert (
        json.loads((tmp_path / 'run/config.json').read_text())['model']['num_classes']
        == CLASSES
    )

    networks = load_networks(workdir)
    assert networks.image_shape == shape
    numbers = evaluation.evaluate(
        networks, '', '', '', '', '', 'test', with_corruptions
    ).numbers
    assert numbers['accuracy'] == result.metrics['test_accuracy']
    assert len(numbers.get('corruptions', ())) == 7 * with_corruptions

    predictions = recognizer.Recognizer(networks).predict(map_pictures(images[:4]))
    assert [prediction.label for prediction in predictions] == labels[:4].tolist()
    assert predictions[0].image.shape == shape

    export.export_network(workdir, '', tmp_path / 'exported', 0)
    names = {path.name for path in (tmp_path / 'exported').iterdir()}
    assert names == {'model.md', 'model.onnx', 'model.stablehlo'}
    card = (tmp_path / 'exported/model.md').read_text()
    size = ', '.join(map(str, shape))
    assert f'np.zeros((2, {size}), np.uint8)' in card
    assert f'(batch, {size})' in card


def map_pictures(images):
    return [as_picture(image) for image in images]


def test_small_images_in_colours(tmp_path):
    check_all(tmp_path, (12, 9, 3), False, conv='xla')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('shape', 'features'),
    [
        ((8, 8, 1), (4,)),
        ((32, 32, 3), (4, 8)),
        ((64, 48, 3), (4, 8)),
        ((31, 45, 1), (8, 8, 8)),
    ],
)
def test_other_sizes_with_the_operations_of_each_backend(tmp_path, shape, features):
    check_all(tmp_path, shape, True, features=features)


def test_images_that_are_too_small_for_the_convolutions_are_refused(tmp_path):
    images, labels = make_images((9, 20, 1))
    tfds_directory.write(tmp_path, 'bars', images, labels, num_classes=CLASSES)
    with pytest.raises(UserError, match=r'images of 9x20 pixels allow 1 to 1 convolutions'):
        train_and_evaluate(configure(tmp_path, features=(4, 8)), None)


def test_a_data_set_that_does_not_fit_in_memory_is_refused(tmp_path, monkeypatch):
    images, labels = make_images((12, 12, 3))
    tfds_directory.write(tmp_path, 'bars', images, labels, num_classes=CLASSES)
    monkeypatch.setattr('mnist_flax.common.memory.count_bytes', lambda: 2**15)
    with pytest.raises(UserError, match='train_split: the images of .* a third of the mem'):
        train_and_evaluate(configure(tmp_path), None)


def test_networks_of_another_shape_are_not_evaluated(tmp_path):
    images, labels = make_images((12, 9, 1))
    tfds_directory.write(tmp_path, 'bars', images, labels)
    networks = load_networks()
    with pytest.raises(UserError, match=r'images of shape \(12, 9, 1\); the network takes'):
        evaluation.evaluate(networks, 'bars', str(tmp_path), '', '', '', 'test', False)


@pytest.mark.slow
@pytest.mark.parametrize(
    'framing',
    [
        'stretch',
        'pad',
        'mnist',
    ],
)
def test_a_picture_for_prediction_is_framed_as_those_of_the_training(tmp_path, framing):
    """A network gets, of a picture that it was trained on, the very same image."""
    paths = []
    for label, pen in ((0, 12), (0, 24), (1, 12), (1, 24)):
        page = Image.new('L', (90, 150), 230)
        canvas = ImageDraw.Draw(page)
        if label:
            canvas.line([(20, 20), (70, 130)], fill=20, width=pen)
        else:
            canvas.ellipse([(10, 20), (80, 130)], outline=20, width=pen)
        paths.append(tmp_path / f'pictures/{label}/{pen}.png')
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        page.save(paths[-1])
    size = None if framing == 'mnist' else (16, 16)
    settings = Settings(size, framing, 0, 0.5, 0)
    root = tmp_path / 'tfds'
    prepare(tmp_path / 'pictures', root, 'own', 'tfrecord', (), Options(), settings)
    config = configure(root)
    config.update({'num_epochs': 1, 'batch_size': 2})
    config.dataset.name = 'own'
    train_and_evaluate(config, str(tmp_path / 'run'))
    loaded = recognizer.load(tmp_path / 'run')
    data = datasets.load(**config.dataset)
    trained_on = {image.tobytes() for image in [*data.train.images, *data.test.images]}
    assert {loaded.to_input(path).tobytes() for path in paths} == trained_on
    assert len(trained_on) == 4
