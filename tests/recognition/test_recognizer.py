"""A finished run, loaded again, and what it says of images and pictures."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from test_framing import draw

from configs import default
from mnist_flax.checkpointing import checkpoints
from mnist_flax.recognition import recognizer
from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    config = default.get_config()
    config.num_epochs = 2
    config.runs = 2
    config.dataset.update({'train_split': 'train[:2000]', 'test_split': 'test[:300]'})
    config.model.update({'features': (4, 8), 'hidden_size': 16, 'batch_norm': True})
    workdir = tmp_path_factory.mktemp('finished')
    return train_and_evaluate(config, str(workdir)), workdir


def test_it_says_what_the_run_said(finished, mnist):
    result, workdir = finished
    logits = recognizer.load(workdir).logits(mnist.test.images[:300])
    expected = np.stack([run.logits for run in result.runs])
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize('number', [0, 1, 3, 300])
def test_any_number_of_images_is_predicted_alike(finished, mnist, number):
    recognizer = recognizer.load(finished[1])
    images = mnist.test.images[:300]
    rows = recognizer.probabilities(images)
    np.testing.assert_allclose(
        recognizer.probabilities(images[:number]), rows[:number], atol=1e-6
    )
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-9)
    for image, row, prediction in zip(
        images[:number], rows, recognizer.predict_images([*images[:number]]), strict=False
    ):
        assert prediction.label == row.argmax()
        assert prediction.confidence == pytest.approx(row.max())
        assert row[prediction.runner_up] == pytest.approx(np.sort(row)[-2])
        np.testing.assert_array_equal(prediction.image, image)


def test_pictures_are_predicted():
    recognizer = recognizer.load()
    for pen in (0.02, 0.06, 0.12):
        predictions = recognizer.predict([draw(digit, pen=pen) for digit in range(10)])
        assert [prediction.label for prediction in predictions] == [*range(10)]
    with pytest.raises(UserError, match='2: found nothing drawn'):
        recognizer.predict([draw(1), np.zeros((50, 50), np.uint8)])


@pytest.mark.parametrize('name', ['default', 'robust'])
def test_the_networks_that_come_with_the_project_are_those_of_its_configs(name, mnist):
    workdir = recognizer.PRETRAINED.parent / name
    recognizer = recognizer.load(workdir)
    predictions = recognizer.probabilities(mnist.test.images).argmax(-1)
    accuracy = (predictions == mnist.test.labels).mean()
    metrics = json.loads((workdir / 'metrics.json').read_text())
    reported = metrics.get('ensemble', metrics)['test_accuracy']
    # Other devices round in another order, and an image or two may tip over.
    assert accuracy == pytest.approx(reported, abs=3e-4)
    config = __import__(f'configs.{name}', fromlist=['get_config']).get_config()
    assert recognizer.about['config'] == json.loads(config.to_json())


def damage(finished, tmp_path, change):
    """Copies the networks, with changed arrays or facts."""
    read = checkpoints.read(finished[1] / 'model')
    arrays, about = dict(read.arrays), dict(read.about)
    change(arrays, about)
    checkpoints.write(tmp_path / 'model', arrays, about)
    return tmp_path


def test_diverged_runs_are_left_out(finished, tmp_path, mnist):
    def change(arrays, about):
        about['runs'][0]['diverged'] = True
        for array in arrays.values():
            array[0] = np.nan

    images = mnist.test.images[:50]
    whole = recognizer.load(finished[1]).logits(images)
    left = recognizer.load(damage(finished, tmp_path, change)).logits(images)
    np.testing.assert_allclose(left, whole[1:], atol=1e-5)


def drop_an_array(arrays, about):
    arrays.pop(sorted(arrays)[0])


def change_a_shape(arrays, about):
    name = sorted(arrays)[0]
    arrays[name] = arrays[name][..., None]


def claim_a_huge_network(arrays, about):
    about['config']['model']['hidden_size'] = 10**9


def forget_a_fact(arrays, about):
    del about['class_names']


def name_other_classes(arrays, about):
    about['class_names'] = ['one']


def add_a_field(arrays, about):
    about['config']['model']['depth'] = 3


def diverge(arrays, about):
    for run in about['runs']:
        run['diverged'] = True


@pytest.mark.parametrize(
    'change',
    [
        drop_an_array,
        change_a_shape,
        claim_a_huge_network,
        forget_a_fact,
        name_other_classes,
        add_a_field,
        diverge,
    ],
)
def test_what_is_no_network_of_ours_is_one_line(finished, tmp_path, change):
    with pytest.raises(UserError, match='--workdir: .* (no network|holds?) |config.model'):
        recognizer.load(damage(finished, tmp_path, change))


def test_a_checkpoint_cannot_name_what_is_called(finished, tmp_path):
    marker = tmp_path / 'called'

    def change(arrays, about):
        about['config']['model'] = {'constructor': 'os.mkdir', 'path': str(marker)}

    workdir = damage(finished, tmp_path, change)
    with pytest.raises(UserError, match="a network that 'os.mkdir' makes"):
        recognizer.load(workdir)
    assert not marker.exists()


def test_a_network_of_one_s_own_is_loaded_if_it_is_named(tmp_path, monkeypatch):
    (tmp_path / 'own_model.py').write_text(
        'import flax.linen as nn\n'
        'class Linear(nn.Module):\n'
        '    @nn.compact\n'
        '    def __call__(self, images, train=False, dropout=None):\n'
        '        return nn.Dense(10)(images.reshape(len(images), -1))\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = default.get_config()
    config.num_epochs = 1
    config.dataset.update({'train_split': 'train[:500]', 'test_split': 'test[:50]'})
    config.model = ConfigDict({'constructor': 'own_model.Linear'})
    train_and_evaluate(config, str(tmp_path / 'run'))
    with pytest.raises(UserError, match='or another --constructor, whose code you trust'):
        recognizer.load(tmp_path / 'run')
    recognizer = recognizer.load(tmp_path / 'run', 'own_model.Linear')
    assert recognizer.logits(np.zeros((1, 28, 28, 1), np.uint8)).shape == (1, 1, 10)


def test_an_absent_or_damaged_run_is_one_line(finished, tmp_path):
    with pytest.raises(UserError, match='found in .* no finished run'):
        recognizer.load(tmp_path)
    shutil.copytree(finished[1] / 'model', tmp_path / 'model')
    (tmp_path / 'model' / 'SHA256SUMS').write_text('')
    with pytest.raises(UserError, match='is damaged'):
        recognizer.load(tmp_path)


def test_predicting_does_not_wait_for_the_data(monkeypatch):
    """The networks know all that is needed: MNIST need not be there."""
    from mnist_flax.data.datasets import datasets

    monkeypatch.setattr(data, 'load', None)
    recognizer.load().predict([draw(7)])
    assert jax.default_backend()
