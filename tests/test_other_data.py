"""Data sets that are not like MNIST are trained, reported and evaluated as they are."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import tfds_directory

from configs import default
from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.data.builders import Fields
from mnist_flax.evaluation import evaluation, report
from mnist_flax.recognition.networks import load_networks
from mnist_flax.reporting import reports
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import devices


@pytest.fixture(scope='module')
def root(tmp_path_factory, mnist):
    """A TFDS directory with an EMNIST, which lies on its side, and the same set upright."""
    root = tmp_path_factory.mktemp('tfds')
    # Many nines and few ones.
    few = (mnist.train.labels == 1) & (np.arange(60_000) % 8 > 0)
    images, labels = mnist.train.images[~few][:1500], mnist.train.labels[~few][:1500]
    folder = tfds_directory.write(root, 'emnist', images.swapaxes(1, 2), labels)
    info = json.loads((folder / 'dataset_info.json').read_text())
    (folder / 'dataset_info.json').write_text(json.dumps({**info, 'configName': 'digits'}))
    (root / 'emnist/digits').mkdir()
    shutil.move(folder, root / 'emnist/digits/1.0.0')
    tfds_directory.write(root, 'upright', images, labels)
    tfds_directory.write(root, 'lying', images.swapaxes(1, 2), labels)
    tfds_directory.write(root, 'inverted', 255 - images, labels)
    return root


def load(name, root):
    return datasets.load_split(name, str(root), 'test', Fields('name', 'data_dir', 'split'))


def test_emnist_is_set_upright(root):
    emnist, upright, lying = (load(n, root) for n in ('emnist/digits', 'upright', 'lying'))
    np.testing.assert_array_equal(emnist.examples.images, upright.examples.images)
    assert emnist.turned
    assert not lying.turned
    assert (lying.examples.images != upright.examples.images).any()


def configure(root):
    config = default.get_config()
    config.update({'num_epochs': 2, 'batch_size': 32, 'num_devices': 1})
    config.dataset.update({'name': 'emnist/digits', 'data_dir': str(root)})
    config.model.update({'features': (8, 16), 'hidden_size': 32, 'conv': 'xla'})
    return config


@pytest.fixture(scope='module')
def trained(root, tmp_path_factory):
    """The workdir of a run on EMNIST, and what it printed."""
    workdir = tmp_path_factory.mktemp('run')
    with contextlib.redirect_stdout(io.StringIO()) as said:
        train_and_evaluate(configure(root), str(workdir))
    return workdir, said.getvalue()


def test_a_run_says_what_is_special_about_its_data(trained):
    workdir, said = trained
    assert 'data: emnist/digits/1.0.0 (set upright), 1,500 train' in said
    assert '\ntrain images of each class: ' in said
    numbers = json.loads((workdir / 'metrics.json').read_text())
    assert 0.5 < numbers['test_balanced_accuracy'] < 1
    assert 'test_balanced_accuracy' in (workdir / 'metrics.txt').read_text()


def test_a_run_on_images_that_lay_is_not_resumed(trained, root, tmp_path):
    """Those of earlier versions, which did not set EMNIST upright."""
    workdir, _ = trained
    settings = json.loads((workdir / 'config.json').read_text())
    assert settings['dataset'].pop('turned_upright') is True
    (tmp_path / 'config.json').write_text(json.dumps(settings))
    with pytest.raises(UserError, match='dataset.turned_upright unset, here True'):
        train_and_evaluate(configure(root), str(tmp_path))


@pytest.mark.parametrize(
    ('name', 'expected'),
    [('lying', ['transposed']), ('inverted', ['inverted']), ('upright', [])],
)
def test_evaluation_notices_images_that_lie_or_are_inverted(trained, root, name, expected):
    networks = load_networks(trained[0])
    evaluated = evaluation.evaluate(
        networks, name, str(root), 'test', '', '', 'test', False
    )
    assert [*evaluated.numbers['other_ways_to_show_them']] == expected
    said = evaluation.describe_other_ways(evaluated.numbers)
    text = report.to_markdown(
        {**evaluated.numbers, **reports.environment(devices.make_mesh(1, 1))},
        evaluated.split.class_names,
        'a network',
    )
    if expected:
        assert said.startswith(f'the same images {expected[0]}: ')
        assert f'**The network knows them otherwise ({said})' in text
    else:
        assert said == ''
        assert 'otherwise' not in text


def test_networks_of_images_that_lay_are_said_to_be(trained, tmp_path, capsys):
    workdir, _ = trained
    load_networks(workdir)
    assert capsys.readouterr().err == ''
    checkpoint = checkpoints.read(workdir / 'model')
    about = {k: v for k, v in checkpoint.about.items() if k != 'turned_upright'}
    checkpoints.write(tmp_path / 'model', checkpoint.arrays, about)
    load_networks(tmp_path)
    assert 'was trained on EMNIST lying on its side' in capsys.readouterr().err
