"""The examples of docs/research.md run as they are printed, on a small part of the data."""

import json
import re

import pytest
from documents import read_commands, read_examples
from repository import ROOT

PAGE = (ROOT / 'docs/research.md').read_text()
EXAMPLES = read_examples(PAGE)
TINY = (
    '--config.num_epochs=1', '--config.dataset.train_split=train[:400]',
    '--config.dataset.test_split=test[:200]', '--config.dataset.holdout_size=100',
)  # fmt: skip
SMALL_CNN = ('--config.model.conv=xla', '--config.model.hidden_size=16')
# Trainings; tests/benchmark/ has the one that measures.
TRAININGS = [words[1:] for words in read_commands(PAGE) if words[1] == '-m']
# A student cannot do without its teacher.
LESSON = [words for words in TRAININGS if words[-1].endswith(('teacher', 'student'))]
COMMANDS = [words for words in TRAININGS if words not in LESSON]

# What stands for the service, which nobody needs to have for the tests.
WANDB = """
import json
class Run:
    def __init__(self, name):
        self.file = open(f'{name}.jsonl', 'a')
    def log(self, record, step):
        self.file.write(json.dumps([record, step]) + chr(10))
    def finish(self):
        self.file.close()
def init(project, id, resume, config, reinit):
    return Run(id)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the page tells its reader to write."""
    (tmp_path / 'configs').mkdir()
    for path, code in EXAMPLES.items():
        (tmp_path / path).write_text(code)
    (tmp_path / 'configs/default.py').write_text((ROOT / 'configs/default.py').read_text())
    return tmp_path


def shorten(words):
    """What makes a command of the page take seconds."""
    tiny = [of for of in TINY if of.partition('=')[0] not in ' '.join(words)]
    if '--config.evaluators.worse.constructor=corruptions' in words:
        tiny = [
            of.replace('test[:200]', 'test[:1000]') for of in tiny
        ]  # as many as it takes
    if 'two_heads' in ' '.join(words):
        return tiny
    swept = 'sweep.model.features' in ' '.join(words)
    features = [] if swept else ['--config.model.features=(4,8)']
    return [*tiny, *SMALL_CNN, *features]


def make_small(words):
    """Replaces what a command of the page sets for a run of its usual length."""
    lengths = {
        '--config.num_epochs=3': '--config.num_epochs=1',
        '--profile=2': '--profile=1',
    }
    return [
        lengths.get(word, word)
        .replace('((16,32),(32,64))', '((2,4),(4,8))')
        .replace('log_every_steps=50', 'log_every_steps=2')
        for word in words
    ]


@pytest.mark.slow
@pytest.mark.parametrize('words', COMMANDS, ids=lambda words: words[-1].split('/')[-1])
def test_a_command_of_the_page_runs(command, folder, words):
    process = command(*make_small(words), *shorten(words), cwd=folder, PYTHONPATH=str(ROOT))
    assert process.returncode == 0, process.stderr
    workdir = folder / words[-1].removeprefix('--workdir=')
    numbers = json.loads((workdir / 'metrics.json').read_text())
    assert ('points' in numbers) == ('held-out' in process.stdout.split('data:')[1])
    assert (workdir / 'metrics.jsonl').read_text().count('"event": "epoch"') >= 1


@pytest.mark.slow
def test_the_lesson_of_the_page_runs(command, folder):
    for name in ('accurate', 'teacher', 'distilled'):
        code = (ROOT / f'configs/{name}.py').read_text()
        (folder / f'configs/{name}.py').write_text(code)
    assert len(LESSON) == 2
    for words in LESSON:
        process = command(*words, *TINY, cwd=folder)
        assert process.returncode == 0, process.stderr
    taught = json.loads((folder / 'outputs/student/metrics.json').read_text())
    assert taught['num_parameters'] == 225_034


def test_the_page_has_a_command_for_each_example():
    text = ' '.join(word for words in COMMANDS for word in words)
    unused = [path for path in EXAMPLES if path not in text]
    assert unused == ['configs/to_wandb.py']  # which needs an account


@pytest.mark.parametrize(
    ('name', 'most'), [('poly', 12), ('shifted', 15), ('search', 18), ('sgd_l2', 18)]
)
def test_an_example_is_as_short_as_promised(name, most):
    lines = EXAMPLES[f'configs/{name}.py'].splitlines()
    assert len([line for line in lines if line.strip()]) <= most


@pytest.mark.slow
def test_a_writer_of_your_own_gets_every_record(command, folder):
    (folder / 'wandb.py').write_text(WANDB)
    process = command(
        '-m', 'mnist_flax.main', '--config=configs/to_wandb.py', '--config.runs=2',
        '--workdir=outputs', *TINY, *SMALL_CNN, cwd=folder, PYTHONPATH=f'{ROOT}:{folder}',
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    for run in range(2):
        # With a number in its name that stands for the whole path of the workdir.
        (path,) = folder.glob(f'outputs-*-{run}.jsonl')
        ((record, step),) = map(json.loads, path.open())
        assert (record['run'], record['event'], step) == (run, 'epoch', 4)


@pytest.mark.slow
def test_the_python_of_the_page_runs(command, folder, mnist):
    process = command(
        '-m', 'mnist_flax.main', '--config.log_every_steps=2', '--workdir=outputs/live',
        *TINY, *SMALL_CNN, cwd=folder,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    library = re.search(r'```python\n(import mnist_flax\n.*?)```', PAGE, re.S)[1]
    lines = library.replace('config.num_epochs = 2', "config.num_epochs = 2; config.dataset.train_split = 'train[:300]'")  # noqa: E501  # fmt: skip
    code = f'import numpy\nimages = numpy.zeros((3, 28, 28, 1), "uint8")\n{lines}'
    process = command('-c', f'{code}\nassert logits.shape == (3, 10)', cwd=folder)
    assert process.returncode == 0, process.stderr
    table = re.search(r'```python\n(import pandas\n.*?)```', PAGE, re.S)[1]
    check = "assert [*metrics[metrics.event == 'step'].step] == [2, 4]"
    process = command('-c', f'{table}{check}', cwd=folder)
    assert process.returncode == 0, process.stderr
