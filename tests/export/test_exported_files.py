"""The files that ``scripts/export.py`` writes, as programs without the project use them."""

import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from conftest import ROOT
from network_to_export import FILES, change, run, start

from mnist_flax.recognition import recognizer

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
    return recognizer.load().logits(mnist.test.images[:256])[0]


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
    label = int(recognizer.load().logits(np.zeros((1, 28, 28, 1), np.uint8))[0].argmax())
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
