"""The command ``mnist_flax`` and what a wheel brings along."""

import tomllib

import pytest
from repository import ROOT

START = 'from mnist_flax import commands; commands.main()'


@pytest.mark.slow
def test_each_command_runs_from_any_folder(command, tmp_path):
    for name in (
        'train',
        'predict',
        'demo',
        'evaluate',
        'compare',
        'export',
        'ablate',
        'prepare',
    ):
        process = command('-c', START, name, '--help', cwd=tmp_path)
        assert process.returncode in (0, 1)  # absl's --help ends with 1
        assert '--help' in process.stdout or 'flags:' in process.stdout
    process = command('-c', START, 'predict', 'absent.png', cwd=tmp_path)
    assert process.stderr.startswith('error: absent.png: it cannot be read (No such file')
    assert process.returncode == 1


def test_a_mistaken_command_is_one_line_with_those_that_there_are(command):
    for arguments, found in (((), 'no command is given'), (('fly',), "found 'fly'")):
        process = command('-c', START, *arguments)
        assert process.stderr == (
            f'error: mnist_flax: {found}; allowed: train, predict, demo, evaluate, '
            'compare, export, ablate, launch, prepare\n'
        )
        assert process.returncode == 1
    for name in ('help', '--help'):
        assert command('-c', START, name).stdout.startswith('usage: mnist_flax COMMAND')


def test_a_wheel_has_every_folder_of_the_package():
    listed = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['setuptools']
    folders = {
        '.'.join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / 'mnist_flax').rglob('__init__.py')
    }
    assert folders == {
        name for name in listed['packages'] if name not in listed['package-dir']
    }
