"""The files that ``scripts/export.py`` writes, as programs without the project use them."""

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from jax import export
from network_to_export import FILES, run_onnx
from repository import ROOT

from mnist_flax.recognition.networks import load_networks

pytestmark = pytest.mark.slow

PAIR = 'Conv, MaxPool, Relu, '
NODES = f'Cast, Div, Transpose, {PAIR}{PAIR}Flatten, Gemm, Relu, Gemm'


@pytest.fixture(scope='module')
def exported(command, tmp_path_factory):
    """What the command writes of the network that comes along."""
    folder = tmp_path_factory.mktemp('exported') / 'new' / 'folder'
    process = command('scripts/export.py', f'--export_dir={folder}')
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


def test_the_command_checks_all_test_images_and_writes_three_files(exported):
    folder, output = exported
    assert {path.name for path in folder.iterdir()} == FILES
    same = (
        r': 10,000 of 10,000 predictions are those of JAX, logits of up to \d\d differ by '
        r'at most \d\.\de-0[4-7]; 0\.9\d MB, '
    )
    several, *lines = output.splitlines()
    assert several.startswith('network 0 of 4, counted from 0; ')
    assert re.fullmatch(rf'model\.onnx{same}nodes {NODES}', lines[0])
    assert re.fullmatch(rf'model\.stablehlo{same}for cpu, cuda, tpu', lines[1])
    assert lines[2:] == [f'written to {folder}: model.onnx, model.stablehlo, model.md']


def test_onnx_takes_any_number_of_uint8_images(exported, mnist):
    expected = load_networks().logits(mnist.test.images[:256])[0]
    for number in (0, 1, 3, 256):
        logits = run_onnx(exported[0], mnist.test.images[:number])
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected[:number], atol=5e-4)
    model = onnx.load(exported[0] / 'model.onnx')
    assert model.producer_name == 'mnist_flax'
    # Nothing but weights, each once: 225,034 parameters, and the 255.
    sizes = [np.prod(weight.dims, dtype=int) for weight in model.graph.initializer]
    assert sum(sizes) == 225_034 + 1


def test_no_file_names_the_folders_of_whoever_exports(exported):
    for name in FILES:
        content = (exported[0] / name).read_bytes()
        for path in (str(ROOT), 'site-packages', 'export.py'):
            assert path.encode() not in content, (name, path)


def test_the_code_in_the_card_runs_as_written_without_the_project(exported):
    card = (exported[0] / 'model.md').read_text()
    snippets = re.findall(r'```python\n(.*?)```', card, re.DOTALL)
    assert len(snippets) == 2
    label = int(load_networks().logits(np.zeros((1, 28, 28, 1), np.uint8))[0].argmax())
    for code in snippets:
        code += "\nimport sys; assert 'mnist_flax' not in sys.modules"
        process = subprocess.run(
            [sys.executable, '-c', code],
            cwd=exported[0],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.stdout == f'[{label} {label}]\n', process.stderr
    content = (exported[0] / 'model.stablehlo').read_bytes()
    assert export.deserialize(bytearray(content)).platforms == ('cpu', 'cuda', 'tpu')


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
        'The network of seed 0.', '| 99.57 | 99.42 to 99.68 | 0.0141 | 0.10 |',
        'reported: test accuracy 99.48 ± 0.06 % (mean ± sd), ensemble 99.56%',
        '10,000 of 10,000 predictions are those of JAX', 'Apache-2.0', 'CC BY-SA 3.0',
        '\ntested on `test`, 10,000 images',
        'Trained on the split `train` without its last 5,000 images, and the examples of '
        '`mnist_flax.drawing.examples.draw_examples`; validated after each epoch on '
        'those 5,000 images;',
        'dataset.extra.number: 20000', 'one of the 4 networks of its run',
    ):  # fmt: skip
        assert fact in card, fact
    assert '\nNone' not in card
