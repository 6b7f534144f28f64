"""Whole configs compiled for described devices: here these are this machine's own."""

import jax
import jax.stages
import pytest
from small_configs import small

from mnist_flax.aot import report
from mnist_flax.common import backend
from mnist_flax.common.errors import UserError


def describe(platform, memory=2.0**30):
    return backend.Described(jax.devices()[:2], platform, memory)


@pytest.mark.parametrize(
    ('platform', 'at_once', 'on_each'), [('gpu', '6', '3'), ('tpu', '2', '1')]
)
def test_a_population(platform, at_once, on_each):
    """All at once on GPUs; one on each TPU, where more at once would take longer."""
    config = small(runs=6, runs_at_once=0, num_devices=0)
    (compilation,) = report.compile_for(config, describe(platform))
    text = report.write(compilation)
    assert f'6, {at_once} at once, {on_each} on each device' in text
    assert ' of 1.0 GiB' in text
    assert 'groups' not in text
    assert backend.described() is None


def test_each_program_of_a_sweep_is_compiled():
    config = small(runs=1)
    config.dataset.validation = 'holdout'
    config.dataset.holdout_size = 100
    config.sweep.batch_size = (25, 50)
    compilations = [*report.compile_for(config, describe('tpu'))]
    assert [of.plan.settings.batch_size for of in compilations] == [25, 50]


def test_what_does_not_fit_is_halved_and_then_ends_in_one_line():
    (compilation,) = report.compile_for(small(runs=8, runs_at_once=0), describe('gpu'))
    needed = compilation.programs.num_bytes
    assert compilation.runs_at_once == 8
    less = describe('gpu', memory=0.9 * needed)
    (compilation,) = report.compile_for(small(runs=8, runs_at_once=0), less)
    assert compilation.runs_at_once == 4
    with pytest.raises(UserError, match=r'config\.batch_size: 50 examples a step .* GiB'):
        next(report.compile_for(small(), describe('gpu', memory=0.1 * needed)))


def test_what_the_compiler_itself_finds_too_large(monkeypatch):
    def fail(program):
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Used 20G of 15G hbm')

    monkeypatch.setattr(jax.stages.Lowered, 'compile', fail)
    with pytest.raises(UserError, match='need more memory on each device, which has 1.0'):
        next(report.compile_for(small(), describe('tpu')))


def test_hosts_that_would_not_divide_the_runs_are_told():
    one_host = describe('tpu')
    assert not report.explain_hosts(small(runs=4), one_host)
    assert report.describe_devices('tpu_v5e', one_host) == 'tpu_v5e, 2 devices'
