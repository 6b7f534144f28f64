"""What the documents say is so: their commands parse and run, what they name exists."""

import functools
import gzip
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from absl import flags
from documents import OTHERS, Checker, read_commands, read_examples, read_flags
from ml_collections import ConfigDict
from PIL import Image
from repository import ROOT

from configs import robust
from mnist_flax.common import new_fields
from mnist_flax.common.errors import UserError
from mnist_flax.recognition.networks import load_networks

README = ROOT / 'README.md'
PAGES = [README, ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
TINY = (
    '--config.num_epochs=1', '--config.dataset.train_split=train[:600]',
    '--config.dataset.test_split=test[:200]', '--config.dataset.holdout_size=100',
)  # fmt: skip

TINY_CNN = (
    *TINY, '--config.model.conv=xla', '--config.model.features=(4,8)',
    '--config.model.hidden_size=16',
)  # fmt: skip

each_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)


@pytest.fixture
def make_checker(tmp_path, monkeypatch):
    """Makes what checks the commands of a page."""
    return functools.partial(Checker, folder=tmp_path, monkeypatch=monkeypatch)


@each_page
def test_every_command_can_be_given(make_checker, page):
    text = page.read_text()
    checker = make_checker(text)
    for command in read_commands(text):
        checker.check(command)


@pytest.mark.parametrize(
    'command',
    [
        'python scripts/absent.py',
        'python scripts/predict.py --jsn photo.jpg',
        'python scripts/evaluate.py --workdir=absent',
        'python -m mnist_flax.main --config.optimizer.rate=1e-3',
        'python -m mnist_flax.main --config.sweep.optimiser.learning_rate=(1e-3,)',
        'python -m mnist_flax.main --config.seed.number=1',
        "pip install '.[absent]'",
        'pytest tests/absent.py',
    ],
)
def test_a_command_that_cannot_be_given_is_found(make_checker, command):
    checker = make_checker('')
    with pytest.raises(
        (AssertionError, flags.Error, SyntaxError, AttributeError, KeyError, UserError)
    ):
        checker.check(shlex.split(command))


@each_page
def test_every_flag_and_field_in_the_text_exists(make_checker, page):
    scripts = [path.relative_to(ROOT).as_posix() for path in ROOT.glob('scripts/*.py')]
    known = set(read_flags('-m', 'mnist_flax.main')).union(*map(read_flags, scripts))
    config = robust.get_config()
    fields = set(read_fields(config))
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.S | re.M)
    for words in map(str.split, re.findall(r'`([^`\n]+)`', text)):
        if words[0] in OTHERS:
            continue
        settings = [of for of in words if of.startswith('--config.') and '=' in of]
        if settings:
            make_checker('').check_config('configs/default.py', settings)
        for word in {*words} - {*settings}:
            name = word.removeprefix('--').partition('=')[0]
            if name.startswith('config.'):
                may_be = new_fields.may_add(config, name.removeprefix('config.'))
                assert may_be or name in {'config.json', *fields}, word
            elif word.startswith('--'):
                assert name in known or name.startswith(('xla_', 'logdir')), word


def read_fields(tree, path='config'):
    """Lists the fields of a config, such as ``config.optimizer.name``."""
    for name, value in tree.items():
        yield f'{path}.{name}'
        if isinstance(value, ConfigDict):
            yield from read_fields(value, f'{path}.{name}')


@each_page
def test_what_a_page_links_to_exists(page):
    text = page.read_text()
    links = re.findall(r'\]\(([^)#\s]*)(?:#([^)\s]*))?\)|src="([^"]+)"', text)
    for path, anchor, image in links:
        if not path.startswith('http'):
            file = page.parent / (path or image) if path or image else page
            assert file.exists(), file
            assert not anchor or anchor in read_anchors(file), (file, anchor)


def read_anchors(page):
    """Lists the names that GitHub gives the headings of a page."""
    headings = re.findall(r'^#+ (.*)', page.read_text(), re.M)
    return [re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-') for text in headings]


@each_page
def test_every_file_that_a_page_names_exists(page):
    files = [path.as_posix() for path in ROOT.glob('*/**/*.py')]
    spans = re.findall(r'`([\w./-]+)`', page.read_text())
    examples = {path for page in PAGES for path in read_examples(page.read_text())}
    top = 'configs', 'docs', 'mnist_flax', 'outputs/reference', 'scripts', 'tests'
    for span in spans:
        if span in examples:
            continue
        if span.startswith(tuple(f'{folder}/' for folder in top)):
            assert (ROOT / span).exists(), span
        elif span.endswith('.py'):
            assert any(file.endswith(f'/{span}') for file in files), span


def test_every_test_that_a_promise_names_exists():
    named = re.findall(r'`(test_\w+)`', (ROOT / 'docs/reliability.md').read_text())
    tests = ''.join(path.read_text() for path in (ROOT / 'tests').rglob('test_*.py'))
    assert len(named) > 15
    assert not [name for name in named if f'\ndef {name}(' not in tests]


def test_the_readme_is_a_page():
    assert len(README.read_text().splitlines()) <= 166


@pytest.fixture
def folder(tmp_path, mnist):
    """A folder with what a clone has for commands, and the reader's own files."""
    for name in ('configs', 'scripts'):
        shutil.copytree(ROOT / name, tmp_path / name)
    images, labels = mnist.test.slice(0, 20)
    np.savez(tmp_path / 'scans.npz', images=images, labels=labels)
    (tmp_path / 'scans').mkdir()
    for name in ('photo.jpg', 'scans/1.png'):
        Image.fromarray(images[0, ..., 0]).resize((280, 280)).save(tmp_path / name)
    return tmp_path


def run_commands(command, folder, text, tiny):
    """Gives the commands of a page, once each and in a form that takes seconds."""
    for program, *words in dict.fromkeys(map(tuple, read_commands(text))):
        waits = '--process_id=0' in words or 'scripts/demo.py' in words
        if program != '.venv/bin/python' or waits:
            continue
        process = command(*words, *tiny(words), cwd=folder, PYTHONPATH=str(ROOT))
        assert process.returncode == 0, (words, process.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('page', 'name', 'tiny'),
    [
        ('docs/models', 'normed_mlp', TINY),
        ('docs/models', 'noisy', TINY_CNN),
        ('docs/data', 'scans', TINY_CNN),
    ],
)
def test_the_examples_run_as_they_are_printed(command, folder, page, name, tiny):
    text = (ROOT / f'{page}.md').read_text()
    path = f'configs/{name}.py'
    (folder / path).write_text(read_examples(text)[path])
    lines = [line for line in text.splitlines() if name in line and '--workdir' in line]
    block = '\n'.join(['```sh', *lines, '```'])
    run_commands(command, folder, block, lambda words: tiny if words[0] == '-m' else [])
    assert (folder / f'outputs/{name}/metrics.json').exists()


def make_pictures(folder, images, labels):
    """The reader's own pictures, of several sizes, and a small set as IDX files."""
    for i, (image, label) in enumerate(zip(images[:40], labels, strict=False)):
        path = folder / 'pictures' / 'ab'[label % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).resize((40 + i, 60)).convert('RGB').save(path)
    (folder / 'fashion').mkdir()
    for split, part in (('train', slice(0, 700)), ('t10k', slice(700, 950))):
        for kind, array in (('images-idx3', images[part, ..., 0]), ('labels-idx1', labels)):
            array = array[part] if kind == 'labels-idx1' else array
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>u4').tobytes()
            content = gzip.compress(header + array.astype(np.uint8).tobytes())
            (folder / f'fashion/{split}-{kind}-ubyte.gz').write_bytes(content)


@pytest.mark.slow
def test_the_commands_for_own_pictures_run(command, folder, mnist):
    def tiny(words):
        if words[0] != '-m':
            return []
        if '--config.dataset.name=flowers' in words:
            return ['--config.batch_size=8', '--config.num_epochs=1', *TINY_CNN[4:]]
        return TINY_CNN

    make_pictures(folder, mnist.test.images[:950], mnist.test.labels[:950])
    text = (ROOT / 'docs/data.md').read_text()
    names = 'flowers', 'fashion'
    lines = [line for line in text.splitlines() if any(name in line for name in names)]
    block = ['```sh', *(line for line in lines if line.startswith('.venv')), '```']
    run_commands(command, folder, '\n'.join(block), tiny)
    for name, shape in (('flowers', [32, 32, 1]), ('fashion_mnist', [28, 28, 1])):
        config = json.loads((folder / f'outputs/{name}/config.json').read_text())
        assert config['model']['num_classes'] == (2 if name == 'flowers' else 10)
        assert (folder / f'data/{name}/1.0.0/dataset_info.json').exists()
        assert load_networks(folder / f'outputs/{name}').image_shape == tuple(shape)


@pytest.mark.slow
def test_the_commands_of_the_readme_run(command, folder, mnist):
    def tiny(words):
        if '--config.dataset.name=flowers' in words:
            return ['--config.batch_size=8', '--config.num_epochs=1', *TINY_CNN[4:]]
        if words[0] == '-m':
            logged = any(word.startswith('--config.log_every_steps=') for word in words)
            short = ['--config.log_every_steps=2', '--profile=1'] if logged else []
            return [*(TINY if '--config=configs/mlp.py' in words else TINY_CNN), *short]
        if words[0] != 'scripts/ablate.py':
            return []
        recipe = [setting.replace('config.', 'config.recipe.') for setting in TINY_CNN]
        return [*recipe, '--seeds=2', '--variants=no_dropout']

    make_pictures(folder, mnist.test.images[:950], mnist.test.labels[:950])
    text = README.read_text()
    for path, code in read_examples(text).items():
        (folder / path).write_text(code)
    run_commands(command, folder, text, tiny)
    numbers = json.loads((folder / 'outputs/mlp/metrics.json').read_text())
    assert numbers['num_parameters'] == 203_530
    assert (folder / 'outputs/evaluation/report.md').exists()
    assert (folder / 'exported/model.onnx').exists()
    page = (ROOT / 'docs/prediction.md').read_text()
    for code in re.findall(r'^```python\n(.*?)^```', page, re.S | re.M):
        process = command('-c', code, cwd=folder)
        assert process.returncode == 0, process.stderr
        first, *_ = process.stdout.splitlines()
        assert len(first.split()) == 2  # what is read, and how sure that is
