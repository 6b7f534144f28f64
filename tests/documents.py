"""The commands and examples of a document, and whether a command can be given."""

import functools
import re
import shlex
import subprocess
import sys
import tomllib

from absl import flags
from ml_collections import config_flags
from repository import ROOT

from mnist_flax.common import configs, new_fields
from mnist_flax.training import plan, recipes, sweeps

OTHERS = (
    'curl',
    'git',
    'pre-commit',
    'sbatch',
    'tensorboard',
)  # are not checked
OF_THE_READER = (
    'photo.jpg', 'scans/', 'pictures', 'fashion', 'digits.npz', 'coloured_mnist.npz',
)  # fmt: skip
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())


def read_commands(text):
    """Lists the commands in ``sh`` blocks, and those in lines of text, as words."""
    lines = ''.join(re.findall(r'^```sh\n(.*?)^```', text, re.S | re.M)).splitlines()
    for line in [*lines, *re.findall(r'`(python [^`\n]+)`', text)]:
        command = []
        for word in [*shlex.split(line, comments=True), '&&']:
            if word != '&&':
                command.append(word)
            elif command:
                yield command
                command = []


def read_examples(text):
    """Finds the files that the reader is told to write."""
    pattern = r'`((?:configs/)?\w+\.py)`:\n\n```python\n(.*?)^```'
    return dict(re.findall(pattern, text, re.S | re.M))


@functools.cache
def read_flags(*program):
    """Asks a program for its flags, with their defaults."""
    process = subprocess.run(
        [sys.executable, *program, '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    entry = r'^  (?:-\S+,\s*)?--(?:\[no\])?(\w+)\b((?:.*\n(?!  -))*.*)'
    found = re.findall(entry, process.stdout, re.M)
    assert found, process.stderr
    default = re.compile(r"\(default:\s+'(.*?)'\)")
    return {
        name: match[1] if (match := default.search(text)) else None for name, text in found
    }


class Checker:
    """Checks the commands of a page in their order."""

    def __init__(self, text, folder, monkeypatch):
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._written = {'outputs'}  # by the command with which the README begins
        self._examples = read_examples(text)
        for path, code in self._examples.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(code)

    def check(self, words):
        """Fails if a command could not be given as it is."""
        while re.match(r'[A-Z_]+=', words[0]):
            words = words[1:]
        program, *arguments = words
        name = program.removeprefix('.venv/bin/')
        assert name in ('python', 'python3', 'pip', 'pytest', *OTHERS), name
        if name.startswith('python'):
            self._check_python(*arguments)
        elif name == 'pip':
            self._check_pip(arguments)
        elif name == 'pytest':
            self._check_pytest(arguments)

    def _check_python(self, first, *words):
        if first == '-c':
            compile(words[0], 'command', 'exec')
            return
        path, program = first, (first,)
        if path in self._examples:
            return
        if first == '-m':
            module, *words = words
            if module == 'venv':
                return
            # A wheel has the folder scripts/ in the package.
            module = module.replace('mnist_flax.scripts.', 'scripts.')
            path, program = module.replace('.', '/') + '.py', ('-m', module)
        assert (ROOT / path).is_file(), f'there is no {path}'
        known = read_flags(*program)
        settings, values = [], {}
        for word in words:
            name, _, value = word.removeprefix('--').partition('=')
            if name.startswith('config.'):
                settings.append(word)
            elif word.startswith('--'):
                assert name in known, f'{path} has no flag --{name}'
                values[name] = value
            elif path == 'scripts/compare.py':
                assert word in self._written, f'there is no {word} yet'
            else:
                assert word in OF_THE_READER, f'{path} does not take {word}'
        if 'config' in known:
            self.check_config(values.get('config', known['config']), settings)
        else:
            assert not settings, f'{path} has no flag --config'
        module = values.get('constructor', 'configs.default.x').rpartition('.')[0]
        file = module.replace('.', '/') + '.py'
        assert file in self._examples or (ROOT / file).exists(), f'there is no {file}'
        workdir = values.get('workdir', 'outputs')
        if known.get('workdir') == '':  # of a program that reads one
            exists = workdir in self._written or (ROOT / workdir).exists()
            assert exists, f'there is no {workdir} yet'
        self._written.add(workdir)

    def check_config(self, path, settings=()):
        """Fails if settings do not fit a config file."""
        file = self._folder / path if path in self._examples else ROOT / path
        assert file.is_file(), f'there is no {path}'
        self._monkeypatch.syspath_prepend(self._folder)  # functions of the examples
        known = configs.load_config(str(file))
        argv, new = new_fields.take(['', f'--config={file}', *settings], known)
        self._monkeypatch.setattr(sys, 'argv', argv)  # where ml_collections looks
        found = flags.FlagValues()
        config_flags.DEFINE_config_file('config', flag_values=found, lock_config=True)
        found(argv)
        if new:
            new_fields.add(found.config, new)
            config = found.config.get('recipe', found.config)
            config = plan.complete(config, num_classes=10)
            recipes.create_recipe(config, 1000, (28, 28, 1), traced=set())
            sweeps.read(config)

    def _check_pip(self, words):
        if '-qc' in words:
            file = words[words.index('-qc') + 1]
            assert (ROOT / file).is_file(), f'there is no {file}'
        for extras in re.findall(r'\.\[(.*?)\]', ' '.join(words)):
            unknown = {*extras.split(',')} - PROJECT['project'][
                'optional-dependencies'
            ].keys()
            assert not unknown, f'there are no extras {unknown}'

    def _check_pytest(self, words):
        markers = PROJECT['tool']['pytest']['ini_options']['markers']
        known = ['-m', *(marker.partition(':')[0] for marker in markers)]
        for word in words:
            assert word in known or (ROOT / word).exists(), f'pytest does not take {word}'
