"""The networks of a finished run, loaded again; what is damaged or untrusted is refused."""

import importlib
import json
import re
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from mnist_flax.checkpointing import checkpoints, earlier_runs
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.networks import PRETRAINED, load_networks
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import plan
from mnist_flax.training.settings import to_tree


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    config = default.get_config()
    config.num_epochs = 2
    config.runs = 2
    config.dataset.update({'train_split': 'train[:2000]', 'test_split': 'test[:300]'})
    config.model.update({'features': (4, 8), 'hidden_size': 16, 'batch_norm': True})
    workdir = tmp_path_factory.mktemp('finished')
    return train_and_evaluate(config, str(workdir)), workdir


@pytest.fixture
def load_changed(finished, tmp_path):
    """Loads a copy of the networks with changed arrays and facts."""

    def load(change):
        read = checkpoints.read(finished[1] / 'model')
        arrays, about = dict(read.arrays), dict(read.about)
        change(arrays, about)
        checkpoints.write(tmp_path / 'model', arrays, about)
        return load_networks(tmp_path)

    return load


def test_the_logits_are_those_of_the_run_for_any_number_of_images(finished, mnist):
    result, workdir = finished
    networks = load_networks(workdir)
    images = mnist.test.images[:300]
    expected = np.stack([run.logits for run in result.runs])
    for number in (0, 1, 3, 300):
        logits = networks.logits(images[:number])
        np.testing.assert_allclose(logits, expected[:, :number], atol=1e-4)
    np.testing.assert_allclose(networks.probabilities(images).sum(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize(
    'name', ['default', pytest.param('robust', marks=pytest.mark.slow)]
)
def test_the_networks_of_the_package_are_those_of_its_configs(name, mnist):
    workdir = PRETRAINED.parent / name
    networks = load_networks(workdir)
    predictions = networks.probabilities(mnist.test.images).argmax(-1)
    accuracy = (predictions == mnist.test.labels).mean()
    metrics = json.loads((workdir / 'metrics.json').read_text())
    reported = metrics.get('ensemble', metrics)['test_accuracy']
    # Other devices round in another order, which may change an image or two.
    assert accuracy == pytest.approx(reported, abs=3e-4)
    config = importlib.import_module(f'configs.{name}').get_config()
    ours = to_tree(plan.complete(config, num_classes=10))
    assert earlier_runs.find_differences(ours, networks.about['config']) == {}


def test_diverged_runs_are_left_out(finished, load_changed, mnist):
    def change(arrays, about):
        about['runs'][0]['diverged'] = True
        for array in arrays.values():
            array[0] = np.nan

    images = mnist.test.images[:50]
    whole = load_networks(finished[1]).logits(images)
    np.testing.assert_allclose(load_changed(change).logits(images), whole[1:], atol=1e-5)


@pytest.mark.parametrize(
    ('precision', 'expected'),
    [('float32', 'HIGHEST'), ('tensorfloat32', 'HIGH'), (None, 'HIGHEST')],
)
def test_the_matmul_precision_is_that_of_the_run(load_changed, precision, expected):
    def change(arrays, about):
        del about['config']['matmul_precision']  # as in early runs
        if precision:
            about['config']['matmul_precision'] = precision

    networks = load_changed(change)
    image = np.zeros((1, 28, 28, 1), np.uint8)
    with jax.default_matmul_precision('bfloat16'):
        program = networks._apply.lower(networks.variables, image).as_text()
    assert {*re.findall(r'precision = \[(\w+)', program)} == {expected}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda arrays, _: arrays.pop('params.Dense_1.bias'),
            r'params.Dense_1.bias is missing, and should be float32\[2, 10\]$',
        ),
        (
            lambda arrays, _: arrays.update({'params.Dense_0.bias': np.zeros((2, 15))}),
            r'params.Dense_0.bias is float64\[2, 15\], and should be float32\[2, 16\]$',
        ),
        (
            lambda arrays, _: arrays['params.Dense_0.bias'].fill(np.nan),
            'holds parameters that are infinite or not numbers$',
        ),
        (
            lambda arrays, _: arrays['batch_stats.ConvReluPool_0.BatchNorm_0.var'].fill(
                np.inf
            ),
            'holds parameters that are infinite or not numbers$',
        ),
        (
            lambda _, about: about['config']['model'].update(hidden_size=10**9),
            r'should be float32\[2, 1000000000\]',
        ),
        (
            lambda _, about: about['config']['model'].update(depth=3),
            "config.model has no field 'depth'",
        ),
        (
            lambda _, about: about['config']['model'].update({'__class__': 'x'}),
            'does not hold networks of this program$',
        ),
        (
            lambda _, about: about['config'].update(matmul_precision='perfect'),
            'does not hold networks of this program$',
        ),
        (
            lambda _, about: about.pop('class_names'),
            'does not hold networks of this program$',
        ),
        (
            lambda _, about: about.update(class_names=['one', 'two']),
            r'gives logits of shape \(1, 10\) for an image, but its run has 2 classes$',
        ),
        (
            lambda _, about: [run.update(diverged=True) for run in about['runs']],
            'all networks in .* have diverged$',
        ),
    ],
)
def test_what_is_not_a_network_of_ours_is_one_line(load_changed, change, message):
    with pytest.raises(UserError, match=message):
        load_changed(change)


def test_an_absent_or_damaged_run_is_one_line(finished, tmp_path):
    with pytest.raises(UserError, match='--workdir: .* holds no finished run '):
        load_networks(tmp_path)
    shutil.copytree(finished[1] / 'model', tmp_path / 'model')
    (tmp_path / 'model' / 'SHA256SUMS').write_text('')
    with pytest.raises(UserError, match='is damaged'):
        load_networks(tmp_path)


def test_a_checkpoint_cannot_name_what_is_called(load_changed, tmp_path):
    marker = tmp_path / 'called'

    def change(arrays, about):
        about['config']['model'] = {'constructor': 'os.mkdir', 'path': str(marker)}

    with pytest.raises(UserError, match="is made by 'os.mkdir', not by .* --constructor"):
        load_changed(change)
    assert not marker.exists()


def test_a_model_of_your_own_is_loaded_if_it_is_named(tmp_path, monkeypatch):
    (tmp_path / 'own_model.py').write_text(
        'import flax.linen as nn\n'
        'class Linear(nn.Module):\n'
        '    sides: tuple[tuple[int, ...], ...]\n'
        '    @nn.compact\n'
        '    def __call__(self, images):\n'
        '        return nn.Dense(10)(images.reshape(len(images), self.sides[0][0]**2))\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = default.get_config()
    config.num_epochs = 1
    config.dataset.update({'train_split': 'train[:500]', 'test_split': 'test[:50]'})
    config.model = ConfigDict({'constructor': 'own_model.Linear', 'sides': ((28,), ())})
    train_and_evaluate(config, str(tmp_path / 'run'))
    with pytest.raises(UserError, match="is made by 'own_model.Linear', not by"):
        load_networks(tmp_path / 'run')
    networks = load_networks(tmp_path / 'run', 'own_model.Linear')
    assert networks.logits(np.zeros((1, 28, 28, 1), np.uint8)).shape == (1, 1, 10)
    _, arrays, about = checkpoints.read(tmp_path / 'run/model')
    about['config']['model']['sides'] = [[32], []]
    checkpoints.write(tmp_path / 'larger/model', arrays, about)
    with pytest.raises(
        UserError, match=r'cannot take images of shape \(28, 28, 1\) \(\w+: '
    ):
        load_networks(tmp_path / 'larger', 'own_model.Linear')
