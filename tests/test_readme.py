"""The README's recipes for an augmentation and a model, done as it says."""

import json
import re
import shutil

import pytest
from conftest import ROOT


def find_recipe(name):
    """The file ``configs/NAME.py``, and the command, that the README shows."""
    readme = (ROOT / 'README.md').read_text()
    code = readme.split(f'`configs/{name}.py`:\n\n```python\n')[1].split('```')[0]
    (command,) = re.findall(rf'.venv/bin/python (.*--config=configs/{name}\.py.*)', readme)
    return code, command.split()


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'parameters'), [('noisy', 225_034), ('mlp', 203_530)])
def test_an_augmentation_and_a_model_are_a_file_and_a_line(
    command, tmp_path, name, parameters
):
    code, arguments = find_recipe(name)
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    (tmp_path / 'configs' / f'{name}.py').write_text(code)
    process = command(
        *arguments,
        '--config.num_epochs=1',
        '--config.dataset.train_split=train[:600]',
        '--config.dataset.test_split=test[:200]',
        cwd=tmp_path,
        PYTHONPATH=str(ROOT),
    )
    assert process.returncode == 0, process.stderr
    numbers = json.loads((tmp_path / f'outputs/{name}/metrics.json').read_text())
    assert numbers['num_parameters'] == parameters


def test_every_config_and_script_is_in_the_readme():
    readme = (ROOT / 'README.md').read_text()
    for folder in ('configs', 'scripts', 'mnist_flax'):
        for path in (ROOT / folder).glob('*.py'):
            assert path.name in readme or path.name == '__init__.py', path


def test_every_file_that_the_documents_name_exists():
    made = {'configs/noisy.py', 'configs/mlp.py'}  # by the reader
    for document in (ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')):
        named = re.findall(
            r'(?:configs|scripts|docs|mnist_flax)/\w+\.\w+', document.read_text()
        )
        assert named
        for path in {*named} - made:
            assert (ROOT / path).exists(), (document.name, path)


def test_every_test_that_a_promise_names_exists():
    named = re.findall(r'`(test_\w+)`', (ROOT / 'docs/reliability.md').read_text())
    tests = ''.join(path.read_text() for path in (ROOT / 'tests').glob('test_*.py'))
    assert len(named) > 15
    for name in named:
        assert f'\ndef {name}(' in tests, name
