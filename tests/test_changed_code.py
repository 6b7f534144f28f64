"""A user's own code, and the files that it reads, may change between two runs."""

import importlib
import sys

import numpy as np
import pytest
from small_configs import small

from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate

SCHEDULE = """
def create_constant(num_steps):
    return lambda step: {factor} + 0.0 * step
"""


def test_a_function_that_was_edited_is_another_one(tmp_path, monkeypatch):
    """In a notebook that reloads it, and in a workdir that an earlier one was used in."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / 'own_schedule.py'
    path.write_text(SCHEDULE.format(factor=1.0))
    config = small(schedule={'constructor': 'own_schedule.create_constant'})
    usual = train_and_evaluate(config, str(tmp_path / 'run')).runs[0].logits
    path.write_text(SCHEDULE.format(factor=1e-9))
    importlib.reload(sys.modules['own_schedule'])
    slow = train_and_evaluate(config).runs[0].logits
    assert np.abs(slow - usual).max() > 0.01
    with pytest.raises(UserError, match='source.own_schedule .*, here '):
        train_and_evaluate(config, str(tmp_path / 'run'))
    path.write_text(SCHEDULE.format(factor=1.0))
    importlib.reload(sys.modules['own_schedule'])
    again = train_and_evaluate(config, str(tmp_path / 'run')).runs[0].logits
    np.testing.assert_array_equal(again, usual)


READS_A_FILE = """
import pathlib
import jax.numpy as jnp
import numpy as np
from mnist_flax.data.shards import Examples

class Teacher:
    def __init__(self, path):
        self.weight = float(pathlib.Path(path).read_text())

def squares(logits, labels, teacher: Teacher):
    return teacher.weight * jnp.sum(logits**2, axis=-1)

def more(path):
    number = int(pathlib.Path(path).read_text())
    return Examples(np.zeros((number, 28, 28, 1), np.uint8), np.zeros(number, np.int32))
"""


@pytest.fixture
def number(tmp_path, monkeypatch):
    """A file with a number, which parts of the module `reads_a_file` read."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'reads_a_file.py').write_text(READS_A_FILE)
    yield tmp_path / 'number'
    sys.modules.pop('reads_a_file', None)


def test_a_teacher_that_was_trained_again_teaches_the_next_student(number):
    """In one process, though the config is the same."""
    teacher = {'constructor': 'reads_a_file.Teacher', 'path': str(number)}
    loss = {'constructor': 'reads_a_file.squares', 'teacher': teacher}
    objectives = []
    for weight in ('1', '5'):
        number.write_text(weight)
        rows = train_and_evaluate(small(loss=loss)).runs[0].rows
        objectives.append(rows[0]['train_objective'])
    assert objectives[1] > 1.5 * objectives[0]


def test_a_run_is_not_resumed_with_other_examples_of_your_own(number, tmp_path):
    config = small()
    config.dataset.extra = {'constructor': 'reads_a_file.more', 'path': str(number)}
    number.write_text('20')
    before = train_and_evaluate(config, str(tmp_path / 'run')).runs[0].rows
    assert train_and_evaluate(config, str(tmp_path / 'run')).runs[0].rows == before
    number.write_text('120')
    with pytest.raises(UserError, match='other settings .dataset.extra_sha256 '):
        train_and_evaluate(config, str(tmp_path / 'run'))
