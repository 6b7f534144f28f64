"""The shipped evaluators, with predictions that are known."""

import math
from unittest import mock

import numpy as np
import optax
import pytest
import scipy.special
import tfds_directory
from ml_collections import ConfigDict

from mnist_flax import evaluators
from mnist_flax.common.constructors import construct
from mnist_flax.common.errors import UserError
from mnist_flax.data.datasets import Dataset
from mnist_flax.data.shards import Examples
from mnist_flax.evaluation import evaluation
from mnist_flax.evaluation.corruptions import CORRUPTIONS
from mnist_flax.recognition.networks import Networks

# As many as in the tests of corruptions, so that one compilation serves both.
NUM_CORRUPTED = 64


@pytest.fixture(scope='module')
def dataset(mnist):
    """Of 80 validation images, with none of the test images."""
    validation = Examples(mnist.train.images[:80], mnist.train.labels[:80])
    test = Examples(mnist.test.images[:9], mnist.test.labels[:9])
    return Dataset('mnist/3.0.1', validation, validation, test, mnist.class_names)


@pytest.fixture(scope='module')
def predict():
    """A linear model with weights at random: a different answer for each image."""
    weights = np.random.default_rng(0).normal(size=(784, 10)) / 500

    def predict(images):
        return (images.reshape(len(images), -1) @ weights).astype(np.float32)

    return predict


def test_a_split_has_the_accuracy_and_loss_of_all_its_images(dataset, predict, mnist):
    measure = evaluators.split(dataset, 'mnist', split='test[:50]')
    images, labels = mnist.test.slice(0, 50)
    logits = predict(images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    assert 0 < accuracy < 1
    assert measure(predict) == pytest.approx(
        {'accuracy': accuracy, 'loss': float(losses.mean())}, rel=1e-5
    )


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({}, 'config.evaluators.letters.name is missing'),
        ({'name': 'letters'}, "config.evaluators.*.name: 'letters' is not in "),
        ({'name': 'mnist', 'split': 'dev'}, "config.evaluators.*.split: found 'dev'"),
        ({'name': 'mnist', 'data_dir': '/none'}, "config.evaluators.*.data_dir: '/none'"),
    ],
)
def test_a_split_that_cannot_be_loaded_is_told(dataset, fields, message):
    with pytest.raises(UserError) as error:
        construct(
            evaluators.split,
            ConfigDict(fields),
            'config.evaluators.letters',
            dataset=dataset,
        )
    assert str(error.value).startswith(message)


def test_a_split_of_other_classes_is_refused(dataset, tmp_path):
    images, labels = dataset.test
    tfds_directory.write(tmp_path, 'letters', images, labels % 3, num_classes=3)
    with pytest.raises(UserError, match='has 3 classes; it should have 10'):
        evaluators.split(dataset, 'letters', str(tmp_path))


def test_corruptions_are_those_of_an_evaluation(dataset, predict):
    """The same numbers as `scripts/evaluate.py` finds for the same images."""

    networks = mock.Mock(spec=Networks)
    networks.probabilities = lambda images: scipy.special.softmax(predict(images), axis=1)
    examples = dataset.validation.slice(0, NUM_CORRUPTED)
    report = evaluation.measure_corruptions(networks, examples)
    expected = {name: report[name][3]['accuracy'] for name in CORRUPTIONS}
    found = evaluators.corruptions(dataset, 4, NUM_CORRUPTED)(predict)
    assert found.pop('mean') == pytest.approx(sum(expected.values()) / 7)
    assert found == expected
    assert len({*found.values()}) > 1


def test_images_are_corrupted_once(dataset, predict):
    asked = []

    def remember(images):
        asked.append(images)
        return predict(images)

    measure = evaluators.corruptions(dataset, num_images=NUM_CORRUPTED)
    assert measure(remember) == measure(remember)
    assert asked[0].shape == (7 * NUM_CORRUPTED, 28, 28, 1)
    assert asked[0].dtype == np.uint8
    assert asked[0] is asked[1]  # what makes asking again free


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'severity': 0}, 'severity: found 0; allowed: 1, 2, 3, 4, 5'),
        ({'num_images': 81}, r'num_images: found 81; allowed: 0 \(all\) to 80, the number'),
        ({'num_images': -1}, 'num_images: found -1'),
    ],
)
def test_corruptions_that_make_no_sense_are_told(dataset, fields, message):
    with pytest.raises(UserError, match=rf'^config.evaluators.\*.{message}'):
        evaluators.corruptions(dataset, **fields)


def test_calibration_compares_confidence_with_accuracy(dataset):
    """Of a model that always says 0 with probability 0.5, where a tenth are zeros."""
    logits = np.zeros((80, 10), np.float32)
    logits[:, 0] = math.log(9)
    found = evaluators.calibration(dataset)(lambda images: logits)
    zeros = float((dataset.validation.labels == 0).mean())
    loss = -(zeros * math.log(0.5) + (1 - zeros) * math.log(0.5 / 9))
    assert found == pytest.approx({'error': 0.5 - zeros, 'confidence': 0.5, 'loss': loss})


def test_calibration_draws_only_if_wanted(dataset, predict):
    found = evaluators.calibration(dataset, figure=True)(predict)
    (axes, _) = found.pop('reliability').axes
    assert f'{found["error"]:.2%}' in axes.get_title()
    assert found == evaluators.calibration(dataset)(predict)


def test_of_a_diverged_run_every_number_is_nan(dataset, mnist):
    def predict(images):
        return np.full((len(images), 10), np.nan, np.float32)

    assert math.isnan(evaluators.split(dataset, 'mnist', split='test[:5]')(predict)['loss'])
    found = evaluators.calibration(dataset, figure=True)(predict)
    assert [*map(math.isnan, found.values())] == [True] * 3
