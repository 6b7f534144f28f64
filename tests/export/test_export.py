"""Networks of many kinds, exported: one of several, of low precision, your own."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
import pytest
import tfds_directory
from flax import traverse_util
from network_to_export import DEFAULT, FILES, change, run, run_onnx

from configs import default
from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.export import export, onnx_graph
from mnist_flax.models import CNN
from mnist_flax.recognition.networks import PRETRAINED, load_networks
from mnist_flax.train import train_and_evaluate


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Two networks as those of one run; a third one between them has diverged."""
    folder = change(tmp_path_factory.mktemp('pair'))
    first, second = (
        checkpoints.read(path / 'model').arrays for path in (PRETRAINED, DEFAULT)
    )
    about = dict(checkpoints.read(folder / 'model').about)
    seeds = enumerate([False, True, False], 5)
    about['runs'] = [{'seed': i, 'diverged': bad, 'changes': ()} for i, bad in seeds]
    arrays = {
        name: np.concatenate([first[name][:1], np.full_like(of, np.nan), of])
        for name, of in second.items()
    }
    checkpoints.write(folder / 'model', arrays, about)
    return folder


def test_one_of_several_networks_is_chosen(pair, tmp_path, mnist):
    images = mnist.test.images[:50]
    run(pair, tmp_path, 1)
    logits = load_networks(pair).logits(images)
    assert not np.allclose(*logits, atol=0.1)
    np.testing.assert_allclose(run_onnx(tmp_path, images), logits[1], atol=1e-3)
    reloaded = export.run_stablehlo((tmp_path / 'model.stablehlo').read_bytes(), [images])
    np.testing.assert_allclose(reloaded, logits[1], atol=1e-3)
    assert 'The network of seed 7.' in (tmp_path / 'model.md').read_text()


def test_a_network_that_is_not_there_is_one_line(pair, tmp_path):
    known = '0 to 1, the networks that have not diverged'
    for workdir, number, allowed in (
        (pair, 2, known),
        (pair, -1, known),
        (DEFAULT, 1, '0'),
    ):
        with pytest.raises(UserError, match=f'--run: found {number}; allowed: {allowed}$'):
            run(workdir, tmp_path / 'new', number)
    assert not (tmp_path / 'new').exists()


@pytest.mark.slow
def test_networks_with_batch_norm_from_training_to_the_card(tmp_path, capsys):
    config = default.get_config()
    config.num_epochs = 1
    config.runs = 2
    config.dataset.update({'train_split': 'train[:1000]', 'test_split': 'test[:700]'})
    config.model.update({'features': (4, 8), 'hidden_size': 16, 'batch_norm': True})
    train_and_evaluate(config, str(tmp_path))
    run(tmp_path, tmp_path, 1)
    output = capsys.readouterr().out
    assert 'model.onnx: 700 of 700 predictions are those of JAX' in output
    assert output.count('Conv, MaxPool, BatchNormalization, Relu, ') == 2
    card = (tmp_path / 'model.md').read_text()
    assert 'The network of seed 1.' in card
    assert '% (mean ± sd), ensemble' in card
    assert 'tested on `test[:700]`, 700 images' in card


def test_a_network_of_low_precision_is_exported_in_float32(tmp_path, mnist):
    def use_bfloat16(about):
        about['config']['model']['dtype'] = 'bfloat16'
        about['config']['dataset']['test_split'] = 'test[:1]'  # the fewest there can be

    for name in FILES:  # of an earlier export, which is replaced
        (tmp_path / name).write_text('before')
    run(change(tmp_path, use_bfloat16), tmp_path)
    images = mnist.test.images[:100]
    expected = load_networks(DEFAULT).logits(images)[0]
    np.testing.assert_allclose(run_onnx(tmp_path, images), expected, atol=5e-4)
    card = (tmp_path / 'model.md').read_text()
    assert 'It was trained in bfloat16, and computes in float32 here.' in card
    assert '1 of 1 predictions are those of JAX' in card
    assert 'The run itself reported' not in card  # without a metrics.json


def test_a_run_on_other_data_is_checked_on_those(tmp_path, mnist, monkeypatch, capsys):
    cache = tmp_path / 'cache'
    monkeypatch.setattr(platformdirs, 'user_cache_path', lambda *_, **__: cache)
    images, labels = mnist.test.slice(0, 40)
    tfds_directory.write(tmp_path / 'data', 'my_digits', images, labels)

    def name_it(about):
        about['dataset'] = 'my_digits/1.0.0'
        names = {'name': 'my_digits', 'data_dir': str(tmp_path / 'data')}
        about['config']['dataset'].update({**names, 'test_split': 'test'})

    run(change(tmp_path, name_it), tmp_path)
    assert 'model.onnx: 40 of 40 predictions are those of JAX' in capsys.readouterr().out
    card = (tmp_path / 'model.md').read_text()
    assert card.startswith('# A network that was trained on my_digits/1.0.0\n')
    assert '`my_digits/1.0.0`, a data set in the form of TensorFlow Datasets.' in card
    for other in ('LeCun', 'CC BY-SA', str(tmp_path)):
        assert other not in card


@pytest.mark.parametrize(
    ('features', 'batch_norm'),
    [pytest.param((2, 3), False, marks=pytest.mark.slow), ((2, 5, 4), True)],
)
def test_the_graph_is_the_network_whatever_its_sizes(features, batch_norm, mnist):
    model = CNN(features, 7, 4, 'xla', 'float32', batch_norm)
    images = mnist.test.images[:20]
    variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    # Other numbers than those at the start, of which many are 0 or 1; a negative scale of
    # batch norm turns maxima into minima if it is applied too early.
    rng = np.random.default_rng(0)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, of: jnp.float32(
            abs(rng.normal(size=of.shape)) + 0.1
            if path[-1].key == 'var'
            else rng.normal(size=of.shape)
        ),
        variables,
    )
    content = onnx_graph.to_onnx(model, variables, (28, 28, 1))
    expected = model.apply(variables, datasets.normalize(jnp.asarray(images)))
    logits = onnx_graph.run_onnx(content, [images])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


OWN = """
import flax.linen as nn

class Own(nn.Module):
    width: int

    @nn.compact
    def __call__(self, images, train, deterministic):
        assert deterministic and not train
        x = images.reshape(len(images), -1)
        return nn.Dense(10)(nn.relu(nn.Dense(self.width)(x)))
"""


def test_a_model_of_your_own_is_stablehlo(tmp_path, monkeypatch, capsys):
    (tmp_path / 'own_exported.py').write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module('own_exported').Own(8)
    variables = own.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), False, True)
    arrays = traverse_util.flatten_dict(variables, sep='.')
    arrays = {name: np.asarray(array)[None] for name, array in arrays.items()}
    about = dict(checkpoints.read(DEFAULT / 'model').about)
    about['config']['model'] = {'constructor': 'own_exported.Own', 'width': 8}
    about['config']['dataset']['test_split'] = 'test[:600]'
    checkpoints.write(tmp_path / 'model', arrays, about)
    folder = tmp_path / 'new'
    run(tmp_path, folder, constructor='own_exported.Own')
    assert {path.name for path in folder.iterdir()} == FILES - {'model.onnx'}
    output = capsys.readouterr().out
    assert output.startswith('model.stablehlo: 600 of 600 predictions are those of JAX')
    assert 'model.onnx: not written' in output
    card = (folder / 'model.md').read_text()
    assert 'parameters, made by `own_exported.Own`' in card
    assert 'onnx' not in card
    # A folder that holds another's ONNX would show two networks as one.
    (folder / 'model.onnx').write_bytes(b'another')
    with pytest.raises(UserError, match='the model.onnx of another network.* use another'):
        run(tmp_path, folder, constructor='own_exported.Own')
