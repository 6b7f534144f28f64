"""Whole configs compiled for described devices: here these are this machine's own."""

from types import SimpleNamespace

import jax
import jax.stages
import pytest
from small_configs import small

from mnist_flax.aot import report
from mnist_flax.common import backend
from mnist_flax.common.errors import UserError


def describe(platform, memory=2.0**30):
    return backend.Described(tuple(jax.devices()[:2]), platform, memory)


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
    compilations = []
    for compilation in report.compile_for(config, describe('tpu')):
        assert backend.described() is None  # in the caller, nothing is assumed
        compilations.append(compilation)
    assert [of.plan.settings.batch_size for of in compilations] == [25, 50]


@pytest.mark.slow
def test_what_does_not_fit_is_halved_and_then_ends_in_one_line():
    (compilation,) = report.compile_for(small(runs=8, runs_at_once=0), describe('gpu'))
    needed = compilation.programs.num_bytes
    assert compilation.groups.size == 8
    less = describe('gpu', memory=0.9 * needed)
    (compilation,) = report.compile_for(small(runs=8, runs_at_once=0), less)
    assert compilation.groups.size == 4
    with pytest.raises(UserError, match=r'config\.batch_size: 50 examples a step .* GiB'):
        next(report.compile_for(small(), describe('gpu', memory=0.1 * needed)))


def test_what_the_compiler_itself_finds_too_large(monkeypatch):
    def fail(program):
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Used 20G of 15G hbm')

    monkeypatch.setattr(jax.stages.Lowered, 'compile', fail)
    with pytest.raises(UserError, match='need more memory on each device, which has 1.0'):
        next(report.compile_for(small(), describe('tpu')))


def test_several_hosts_share_a_single_run_as_in_training():
    """A batch of 128 cannot be shared by 256 devices."""
    chips = tuple(SimpleNamespace(process_index=i // 4, platform='tpu') for i in range(256))
    pod = backend.Described(chips, 'tpu', 2.0**30)
    assert report.describe_devices('tpu_v5e', pod) == 'tpu_v5e, 256 devices of 64 hosts'
    config = small(num_devices=0, batch_size=128)
    config.dataset.train_split = 'train[:1000]'
    with pytest.raises(UserError, match='found 128; allowed: a multiple of 256'):
        next(report.compile_for(config, pod))


@pytest.mark.parametrize('fields', [{'batch_size': 300}, {'microbatch_size': 10}])
def test_a_step_that_cannot_be_counted_is_left_out(fields):
    config = small(**fields)
    (compilation,) = report.compile_for(config, describe('gpu'))
    assert 'a step' not in report.write(compilation)
    (compilation,) = report.compile_for(small(), describe('gpu'))
    assert 'a step' in report.write(compilation)
