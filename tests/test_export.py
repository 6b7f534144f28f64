"""``scripts/export.py``, as a command and in its parts."""

import importlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import platformdirs
import pytest
import tfds_directory
from conftest import ROOT
from flax import traverse_util

from configs import default
from mnist_flax import checkpoints, data, export, inference, onnx_graph
from mnist_flax.checks import UserError
from mnist_flax.models import CNN
from mnist_flax.train import train_and_evaluate

FILES = {'model.onnx', 'model.stablehlo', 'model.md'}
DEFAULT = inference.PRETRAINED.parent / 'default'  # one network
PAIR = 'Conv, MaxPool, Relu, '
NODES = f'Cast, Div, Transpose, {PAIR}{PAIR}Flatten, Gemm, Relu, Gemm'


@pytest.fixture(scope='module')
def exported(command, tmp_path_factory):
    """What the command writes of the network that comes along."""
    folder = tmp_path_factory.mktemp('exported') / 'new' / 'folder'
    process = command('scripts/export.py', f'--export_dir={folder}')
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


@pytest.fixture(scope='module')
def expected(mnist):
    """What the network that comes along says of the first test images."""
    return inference.load().logits(mnist.test.images[:256])[0]


def change(folder, change_about=lambda about: None):
    """Writes the default network anew, with other facts."""
    read = checkpoints.read(DEFAULT / 'model')
    about = dict(read.about)
    # A part suffices, and a formulation that is compiled fast.
    about['config']['dataset']['test_split'] = 'test[:600]'
    about['config']['model']['conv'] = 'xla'
    change_about(about)
    checkpoints.write(folder / 'model', dict(read.arrays), about)
    return folder


def run(workdir, folder, number=0, constructor=inference.OURS):
    export.export_network(workdir, constructor, folder, number)


def start(path):
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])


def run_as_written(code, folder):
    """Runs code in a process that has not heard of the project."""
    process = subprocess.run(
        [
            sys.executable,
            '-c',
            code + "\nimport sys; assert 'mnist_flax' not in sys.modules",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_command_checks_all_test_images_and_writes_three_files(exported):
    folder, output = exported
    assert {path.name for path in folder.iterdir()} == FILES
    same = (
        r": 10,000 of 10,000 predictions as JAX's, logits of up to \d\d differ by "
        r'\d\.\de-0[4-7] at most; 0\.9\d MB, '
    )
    several, *lines = output.splitlines()
    assert several.startswith('network 0 of 4, counted from 0; ')
    assert re.fullmatch(rf'model\.onnx{same}nodes {NODES}', lines[0])
    assert re.fullmatch(rf'model\.stablehlo{same}for cpu, cuda, tpu', lines[1])
    assert lines[2:] == [f'written to {folder}: model.onnx, model.stablehlo, model.md']


@pytest.mark.parametrize('number', [0, 1, 3, 256])
def test_onnx_takes_any_number_of_uint8_images(exported, expected, mnist, number):
    images = mnist.test.images[:number]
    session = start(exported[0] / 'model.onnx')
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, entry.shape) == (
        'images',
        'tensor(uint8)',
        ['batch', 28, 28, 1],
    )
    assert (result.name, result.type, result.shape) == (
        'logits',
        'tensor(float)',
        ['batch', 10],
    )
    (logits,) = session.run(['logits'], {'images': images})
    np.testing.assert_allclose(logits, expected[:number], atol=5e-4)


def test_onnx_is_sound_and_says_whose_it_is(exported):
    model = onnx.load(exported[0] / 'model.onnx')
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == 'mnist_flax'
    # Nothing but weights, each once: 225,034 parameters, and the 255.
    sizes = [np.prod(weight.dims, dtype=int) for weight in model.graph.initializer]
    assert sum(sizes) == 225_034 + 1


def test_stablehlo_is_reloaded_without_the_project(exported, expected, mnist, tmp_path):
    images = mnist.test.images[:70]
    np.save(tmp_path / 'images.npy', images)
    code = f"""
import numpy as np
from jax import export
content = open({str(exported[0] / 'model.stablehlo')!r}, 'rb').read()
network = export.deserialize(bytearray(content))
assert network.platforms == ('cpu', 'cuda', 'tpu')
images = np.load('images.npy')
np.save('logits.npy', network.call(images))
assert np.allclose(network.call(images[:1]), np.load('logits.npy')[:1], atol=1e-4)
"""
    run_as_written(code, tmp_path)
    logits = np.load(tmp_path / 'logits.npy')
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected[:70], atol=5e-4)


def test_no_file_names_the_folders_of_whoever_exports(exported):
    for name in FILES:
        content = (exported[0] / name).read_bytes()
        for path in (str(ROOT), 'site-packages', 'export.py'):
            assert path.encode() not in content, (name, path)


def test_the_code_in_the_card_runs_as_written(exported):
    card = (exported[0] / 'model.md').read_text()
    snippets = re.findall(r'```python\n(.*?)```', card, re.DOTALL)
    assert len(snippets) == 2
    label = int(inference.load().logits(np.zeros((1, 28, 28, 1), np.uint8))[0].argmax())
    for code in snippets:
        assert run_as_written(code, exported[0]) == f'[{label} {label}]\n'


def test_the_card_tells_what_the_network_is_worth(exported):
    card = (exported[0] / 'model.md').read_text()
    titles = re.findall(r'^#+ (.*)', card, re.MULTILINE)
    assert titles == [
        'A network that was trained on mnist/3.0.1', 'Use', 'Data', 'Recipe', 'Metrics',
        'Limits', 'Licence', 'Citation',
    ]  # fmt: skip
    for fact in (
        '225,034 parameters', 'Yann LeCun, Corinna Cortes\nand Christopher J.C. Burges',
        'optimizer.learning_rate: 0.003', 'model.features: 32, 64',
        'The network of seed 0.', '| 99.56 | 99.41 to 99.67 | 0.0139 | 0.16 |',
        'reported: test accuracy 99.52 ± 0.06 % (mean ± sd), ensemble 99.61%',
        "10,000 of 10,000 predictions as JAX's", 'Apache-2.0', 'CC BY-SA 3.0',
        '\ntested on `test`, 10,000 images',
        'Trained on the split `train` without its last 5,000 images, and 1,600 digits',
        'One of the 4 of its run, whose mean is not in these files.',
    ):  # fmt: skip
        assert fact in card, fact
    assert '\nNone' not in card


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Two networks as those of one run; a third one between them has diverged."""
    folder = tmp_path_factory.mktemp('pair')
    first = {
        name: array[:1]
        for name, array in checkpoints.read(inference.PRETRAINED / 'model').arrays.items()
    }
    second = checkpoints.read(DEFAULT / 'model').arrays
    about = dict(checkpoints.read(change(folder) / 'model').about)
    seeds = enumerate([False, True, False], 5)
    about['runs'] = [{'seed': i, 'diverged': bad, 'changes': ()} for i, bad in seeds]
    arrays = {
        name: np.concatenate([first[name], np.full_like(first[name], np.nan), second[name]])
        for name in first
    }
    checkpoints.write(folder / 'model', arrays, about)
    return folder


def test_one_of_several_networks_is_chosen(pair, tmp_path, mnist):
    images = mnist.test.images[:50]
    run(pair, tmp_path, 1)
    logits = inference.load(pair).logits(images)
    assert not np.allclose(*logits, atol=0.1)
    (by_onnx,) = start(tmp_path / 'model.onnx').run(['logits'], {'images': images})
    np.testing.assert_allclose(by_onnx, logits[1], atol=1e-3)
    reloaded = export.run_stablehlo((tmp_path / 'model.stablehlo').read_bytes(), [images])
    np.testing.assert_allclose(reloaded, logits[1], atol=1e-3)
    assert 'The network of seed 7.' in (tmp_path / 'model.md').read_text()


def test_a_network_that_is_not_there_is_one_line(pair, tmp_path):
    for number in (2, -1):
        expected = f'--run: found {number}; allowed: 0 to 1, the networks that have not'
        with pytest.raises(UserError, match=expected):
            run(pair, tmp_path / 'new', number)
    with pytest.raises(UserError, match=r'--run: found 1; allowed: 0$'):
        run(DEFAULT, tmp_path / 'new', 1)
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
    assert "model.onnx: 700 of 700 predictions as JAX's" in output
    assert output.count('Conv, MaxPool, BatchNormalization, Relu, ') == 2
    card = (tmp_path / 'model.md').read_text()
    assert 'The network of seed 1.' in card
    assert '% (mean ± sd), ensemble' in card
    assert 'tested on `test[:700]`, 700 images' in card


@pytest.mark.parametrize(
    ('features', 'batch_norm'), [((3,), True), ((2, 3), False), ((2, 5, 4), True)]
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
    content = onnx_graph.to_onnx(model, variables)
    expected = model.apply(variables, data.normalize(jnp.asarray(images)))
    logits = onnx_graph.run_onnx(content, [images])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_network_of_low_precision_is_exported_in_float32(tmp_path, mnist, capsys):
    def use_bfloat16(about):
        about['config']['model']['dtype'] = 'bfloat16'

    run(change(tmp_path, use_bfloat16), tmp_path)
    images = mnist.test.images[:100]
    (logits,) = start(tmp_path / 'model.onnx').run(['logits'], {'images': images})
    expected = inference.load(DEFAULT).logits(images)[0]
    np.testing.assert_allclose(logits, expected, atol=5e-4)
    assert "600 of 600 predictions as JAX's" in capsys.readouterr().out
    card = (tmp_path / 'model.md').read_text()
    assert 'It was trained in bfloat16, and computes in float32 here.' in card
    assert 'The run itself reported' not in card  # without a metrics.json


def test_a_run_on_other_data_is_checked_on_those(tmp_path, mnist, monkeypatch, capsys):
    monkeypatch.setattr(
        platformdirs, 'user_cache_path', lambda *_, **__: tmp_path / 'cache'
    )
    images, labels = (array[:40] for array in mnist.test)
    tfds_directory.write(tmp_path / 'data', 'my_digits', images, labels)

    def name_it(about):
        about['dataset'] = 'my_digits/1.0.0'
        names = {'name': 'my_digits', 'data_dir': str(tmp_path / 'data')}
        about['config']['dataset'].update({**names, 'test_split': 'test'})

    run(change(tmp_path, name_it), tmp_path)
    assert "model.onnx: 40 of 40 predictions as JAX's" in capsys.readouterr().out
    card = (tmp_path / 'model.md').read_text()
    assert card.startswith('# A network that was trained on my_digits/1.0.0\n')
    assert '`my_digits/1.0.0` of TensorFlow Datasets, whose catalog names' in card
    for other in ('LeCun', 'CC BY-SA', str(tmp_path)):
        assert other not in card


OWN = """
import flax.linen as nn

class Own(nn.Module):
    width: int

    @nn.compact
    def __call__(self, images, train=False, dropout=None):
        x = images.reshape(len(images), -1)
        return nn.Dense(10)(nn.relu(nn.Dense(self.width)(x)))
"""


@pytest.mark.slow
def test_a_network_of_one_s_own_is_stablehlo(command, tmp_path, monkeypatch):
    """Found in the current folder, as the configs are."""
    (tmp_path / 'own_exported.py').write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module('own_exported').Own(8)
    variables = own.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    arrays = traverse_util.flatten_dict(variables, sep='.')
    arrays = {name: np.asarray(array)[None] for name, array in arrays.items()}
    about = dict(checkpoints.read(DEFAULT / 'model').about)
    about['config']['model'] = {'constructor': 'own_exported.Own', 'width': 8}
    about['config']['dataset']['test_split'] = 'test[:600]'
    checkpoints.write(tmp_path / 'run' / 'model', arrays, about)

    flags = ('--workdir=run', '--constructor=own_exported.Own', '--export_dir=new')
    process = command(ROOT / 'scripts/export.py', *flags, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    folder = tmp_path / 'new'
    assert {path.name for path in folder.iterdir()} == FILES - {'model.onnx'}
    start = "model.stablehlo: 600 of 600 predictions as JAX's"
    assert process.stdout.startswith(start)
    assert 'model.onnx: left out' in process.stdout
    card = (folder / 'model.md').read_text()
    assert 'parameters, made by `own_exported.Own`' in card
    assert 'onnx' not in card
    # A folder that holds another's ONNX would show two networks as one.
    (folder / 'model.onnx').write_bytes(b'another')
    with pytest.raises(
        UserError, match='the model.onnx of another network; allowed: anoth'
    ):
        run(tmp_path / 'run', folder, constructor='own_exported.Own')


def forget_the_order_of_inputs(monkeypatch):
    monkeypatch.setattr(onnx_graph, '_channels_first', lambda kernel, side: kernel)


def normalize_otherwise(monkeypatch):
    monkeypatch.setattr(data, 'normalize', lambda images: images.astype(jnp.float32) / 256)


@pytest.mark.parametrize(
    ('break_it', 'name'),
    [(forget_the_order_of_inputs, 'onnx'), (normalize_otherwise, 'stablehlo')],
)
def test_a_file_that_says_something_else_is_not_written(
    tmp_path, monkeypatch, capsys, break_it, name
):
    workdir = change(tmp_path)
    break_it(monkeypatch)
    message = (
        rf'^model.{name}: found \d+ of 600 .*; allowed: all, and .*nothing was written$'
    )
    with pytest.raises(UserError, match=message):
        run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()
    assert capsys.readouterr().out == ''


def test_logits_count_and_not_predictions_only():
    logits = np.float32([[1, 3], [2, 1]])
    assert export.compare('a', logits, logits).startswith('2 of 2 predictions')
    for wrong in (logits * 1.01, logits[:, ::-1], logits * np.nan):
        with pytest.raises(UserError, match='^a: found'):
            export.compare('a', wrong, logits)
    tie = np.float32([[1.00001, 3], [1, 1.00001]])
    with pytest.raises(UserError, match='^a: found 1 of 2'):
        export.compare('a', np.float32([[1, 3], [1.00001, 1]]), tie)


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, package):
    workdir = change(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    expected = rf"^{package} is missing; allowed: pip install -e '.\[export\]'$"
    with pytest.raises(UserError, match=expected):
        run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    workdir = change(tmp_path)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(UserError, match='--export_dir: cannot write into .* a folder, whi'):
        run(workdir, tmp_path / 'file')


def forget_the_data(about):
    del about['config']['dataset']['name']


def forget_the_seeds(about):
    del about['runs'][0]['changes']


def name_absent_data(about):
    about['config']['dataset']['name'] = 'mnist:9.9.9'


def name_other_data(about):
    about['class_names'] = [*'abcdefghij']


@pytest.mark.parametrize(
    ('change_about', 'message'),
    [
        (forget_the_data, 'a run that does not name its data'),
        (forget_the_seeds, 'a run that does not say how it was trained'),
        (name_absent_data, "config.dataset.*: found 'mnist:9.9.9'; allowed: the embedded"),
        (name_other_data, 'with the classes 0, 1, .*; allowed: those of the network, a, b'),
    ],
)
def test_a_run_without_its_facts_is_one_line(tmp_path, change_about, message):
    with pytest.raises(UserError, match=message):
        run(change(tmp_path, change_about), tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_report_that_is_none_is_one_line(tmp_path):
    workdir = change(tmp_path)
    for content in ('{', '[]', '{"test_accuracy": 0.5}'):
        (workdir / 'metrics.json').write_text(content)
        with pytest.raises(UserError, match='metrics.json no report of a run'):
            run(workdir, tmp_path / 'new')


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (('--run=first',), 2, 'error: flag --run=first'),
        (('outputs',), 2, "error: unexpected argument 'outputs'"),
    ],
)
def test_bad_arguments_are_one_line(command, arguments, status, message):
    process = command('scripts/export.py', *arguments)
    assert process.returncode == status
    assert process.stderr.startswith(message)
    assert process.stderr.count('\n') == 1


def test_an_earlier_export_is_replaced(exported, tmp_path):
    shutil.copytree(exported[0], tmp_path / 'again')
    before = (tmp_path / 'again' / 'model.md').read_text()

    def test_on_one_image(about):
        about['config']['dataset']['test_split'] = 'test[:1]'

    run(change(tmp_path, test_on_one_image), tmp_path / 'again')
    assert {path.name for path in (tmp_path / 'again').iterdir()} == FILES
    after = (tmp_path / 'again' / 'model.md').read_text()
    assert '10,000 images' in before
    assert '`test[:1]`, 1 images' in after
