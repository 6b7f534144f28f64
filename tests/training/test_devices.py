import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_flax.common.errors import UserError
from mnist_flax.training import devices

pytestmark = pytest.mark.skipif(
    jax.default_backend() != 'cpu', reason='simulates devices by the cores of a CPU'
)


@pytest.mark.parametrize(
    ('num_devices', 'batch_size', 'expected'),
    [
        (1, 128, 1),
        (2, 128, 2),
        (8, 128, 8),
        (0, 256, 8),
        (0, 128, 4),  # of the 8 here, each with 32 examples or more
        (0, 100, 2),  # 3 do not divide it
        (0, 67, 1),
        (0, 5, 1),
    ],
)
def test_number_of_devices(num_devices, batch_size, expected):
    mesh = devices.make_mesh(num_devices, batch_size)
    assert dict(mesh.shape) == {'run': 1, 'data': expected}


@pytest.mark.parametrize(
    ('num_devices', 'num_runs', 'shape'),
    [
        (0, 3, (3, 2)),  # of the 8 here: two cores for each run
        (0, 8, (8, 1)),
        (0, 100, (8, 1)),
        (8, 3, (2, 4)),  # all that were asked for
        (8, 4, (4, 2)),
        (6, 32, (6, 1)),
        (1, 32, (1, 1)),
    ],
)
def test_devices_are_divided_among_runs_first(num_devices, num_runs, shape):
    mesh = devices.make_mesh(num_devices, batch_size=128, num_runs=num_runs)
    assert tuple(mesh.shape.values()) == shape


@pytest.mark.parametrize(
    ('num_devices', 'batch_size', 'message'),
    [
        (
            -1,
            128,
            'config.num_devices: found -1; allowed: 0 to 8, the number of cpu devices',
        ),
        (9, 128, 'config.num_devices: found 9; allowed: 0 to 8, the number of cpu devices'),
        (
            8,
            100,
            'config.batch_size: found 100; allowed: a multiple of 8, the number of devices '
            'that share it (see config.num_devices)',
        ),
    ],
)
def test_devices_that_cannot_share_a_batch_are_refused(num_devices, batch_size, message):
    with pytest.raises(UserError) as caught:
        devices.make_mesh(num_devices, batch_size)
    assert str(caught.value) == message


def test_a_function_compiles_once_for_a_mesh():
    mesh = devices.make_mesh(2, 2)
    assert devices.on_mesh(np.sin, mesh, 1) is devices.on_mesh(np.sin, mesh, 1)
    assert devices.on_mesh(np.sin, mesh, 1) is not devices.on_mesh(np.cos, mesh, 1)


@pytest.mark.parametrize('num_runs', [1, 2, 4])
def test_a_function_of_one_run_becomes_one_of_all(num_runs):
    mesh = devices.make_mesh(2, 2, num_runs=2 if num_runs > 1 else 1)
    runs, shared = np.arange(3.0 * num_runs).reshape(num_runs, 3), np.array([1.0, 2.0, 3.0])
    arguments = devices.split_runs(mesh, runs), devices.replicate(mesh, shared)
    actual = devices.on_mesh(jnp.dot, mesh, 1)(*arguments)
    np.testing.assert_allclose(actual, runs @ shared)


def test_a_device_that_does_not_say_how_much_memory_it_has_has_enough(monkeypatch):
    mesh = devices.make_mesh(1, 1)
    assert 2**30 < devices.memory_per_device(mesh) < 2**50  # of this machine
    monkeypatch.setattr(devices, 'is_cpu', lambda mesh: False)
    assert devices.memory_per_device(mesh) == float('inf')
