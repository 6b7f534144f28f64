"""What an epoch needs is compiled before its first step, programs at the same time."""

import time

import jax
import jax.stages
import pytest
from small_configs import small

from mnist_flax.training import devices, population
from mnist_flax.training.groups import Groups
from mnist_flax.training.plan import make_plan


@pytest.mark.parametrize('runs', [1, 2])
def test_training_finds_everything_compiled(runs, forbid_compilation):
    """From descriptions of the arrays, in other threads, with a setting of the config."""
    plan = make_plan(small(runs=runs, num_devices=runs))
    groups = Groups(plan)
    groups.compile()
    group = groups.place(range(runs))
    data = group.arrays
    with forbid_compilation(), jax.default_matmul_precision('float32'):
        state = groups.init(group)
        for _ in range(2):
            state, _ = population.train_epoch(
                group.mesh,
                plan.recipe,
                state,
                data.train_images,
                data.train_labels,
                plan.settings.batch_size,
            )
            population.predict_logits(group.mesh, plan.recipe, state, data.test_images)


def test_an_error_of_the_compiler_is_told(monkeypatch):
    """It compiles in threads, whose errors nobody would see."""

    def fail(program):
        raise MemoryError('no memory to compile in')

    monkeypatch.setattr(jax.stages.Lowered, 'compile', fail)
    with pytest.raises(MemoryError, match='no memory to compile in'):
        Groups(make_plan(small())).compile()


def test_after_an_error_nothing_more_is_compiled(monkeypatch):
    compiled = []

    def fail(program):
        compiled.append(program)
        time.sleep(0.5)
        raise MemoryError

    monkeypatch.setattr(jax.stages.Lowered, 'compile', fail)
    monkeypatch.setattr(devices, 'count_cores', lambda: 1)
    with pytest.raises(MemoryError):
        Groups(make_plan(small())).compile()
    time.sleep(1)
    assert len(compiled) <= 2  # of four: the next one may have begun
