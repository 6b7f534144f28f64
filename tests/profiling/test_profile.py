"""A profile of a small loop: its operations by their names in JAX."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from mnist_flax.profiling import profile

NUM_STEPS = 7


@jax.jit
def train(weights, inputs):
    def step(weights, _):
        with jax.named_scope('layer'):
            outputs = jnp.tanh(inputs @ weights)
        return weights - 0.01 * (inputs.T @ outputs), None

    return jax.lax.scan(step, weights, None, length=NUM_STEPS)[0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('profile')
    arguments = jnp.eye(300), jnp.ones((600, 300))
    jax.block_until_ready(train(*arguments))
    with profile.trace(folder):
        jax.block_until_ready(train(*arguments))
    return folder


def test_operations_have_the_names_of_the_model(folder):
    operations = {of.name: of for of in profile.dearest_operations(folder)}
    product = operations['layer/dot_general']
    assert product.calls == operations['dot_general'].calls == NUM_STEPS
    assert product.seconds > operations['layer/tanh'].seconds > 0
    assert product.what  # what to look for in the trace


def test_nothing_is_counted_twice(folder):
    """The loop lasts as long as what is in it."""
    operations = profile.dearest_operations(folder, count=1000)
    assert not [of.name for of in operations if 'while' in of.name]
    assert sum(of.share for of in operations) == pytest.approx(1)
    assert [of.share for of in operations] == sorted(
        (of.share for of in operations), reverse=True
    )
    assert profile.dearest_operations(folder, count=2) == operations[:2]


def test_perfetto_and_tensorboard_have_their_files(folder):
    (path,) = folder.glob('plugins/profile/*/perfetto_trace.json.gz')
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
    (first, *_) = profile.dearest_operations(folder)
    names = [event.get('name') for event in events]
    assert names.count(first.what) == NUM_STEPS
    assert len([*folder.glob('plugins/profile/*/*.xplane.pb')]) == 1


def test_a_newer_trace_is_read(tmp_path, folder):
    (old,) = folder.glob('plugins/profile/*/*.xplane.pb')
    (tmp_path / 'plugins/profile/2000_01_01_00_00_00').mkdir(parents=True)
    (tmp_path / 'plugins/profile/2000_01_01_00_00_00/host.xplane.pb').write_bytes(
        old.read_bytes()
    )
    square = jax.jit(lambda x: x @ x)
    with profile.trace(tmp_path):
        jax.block_until_ready(square(jnp.eye(300)))
    assert 'layer/tanh' not in {of.name for of in profile.dearest_operations(tmp_path)}


def test_the_table_is_aligned():
    operations = [
        profile.Operation(
            'jvp(CNN)/Dense_0/dot_general', 'dot.1 and 2 more', 1407, 2.5, 0.8
        ),
        profile.Operation('add', 'fusion.3', 469, 0.625, 0.2),
    ]
    assert profile.to_text(operations).splitlines() == [
        'share  seconds  calls  operation                     in the trace',
        '80.0%    2.500  1,407  jvp(CNN)/Dense_0/dot_general  dot.1 and 2 more',
        '20.0%    0.625    469  add                           fusion.3',
    ]
    assert profile.to_text([]) == 'share  seconds  calls  operation  in the trace'
