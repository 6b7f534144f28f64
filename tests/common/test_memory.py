"""Limits of memory, from files as the Linux kernel writes them."""

from unittest import mock

import pytest

from mnist_flax.common import memory

GIB = 2**30


def count(tmp_path, monkeypatch, own, limits):
    for name, text in limits.items():
        path = tmp_path / 'cgroup' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{text}\n')
    (tmp_path / 'own').write_text(own)
    monkeypatch.setattr(memory, '_CGROUPS', tmp_path / 'cgroup')
    monkeypatch.setattr(memory, '_OWN_CGROUP', tmp_path / 'own')
    machine = mock.Mock(return_value=mock.Mock(total=16 * GIB))
    monkeypatch.setattr('psutil.virtual_memory', machine)
    return memory.count_bytes()


@pytest.mark.parametrize(
    ('own', 'limits', 'expected'),
    [
        ('0::/\n', {'memory.max': GIB}, GIB),  # version 2, in a container
        ('0::/\n', {'memory.max': 'max'}, 16 * GIB),
        # The group above has less than the process's own.
        ('0::/a/b\n', {'a/b/memory.max': 4 * GIB, 'a/memory.max': 2 * GIB}, 2 * GIB),
        # The path is that of the host, which a container does not see.
        ('0::/docker/1234\n', {'memory.max': 3 * GIB}, 3 * GIB),
        # Version 1, beside groups that do not limit memory.
        (
            '7:cpu,cpuacct:/\n6:memory:/job\n0::/\n',
            {'memory/job/memory.limit_in_bytes': 5 * GIB},
            5 * GIB,
        ),
        ('6:memory:/\n', {'memory/memory.limit_in_bytes': 2**63 - 4096}, 16 * GIB),
        ('', {}, 16 * GIB),
    ],
)
def test_the_container_s_limit_counts(tmp_path, monkeypatch, own, limits, expected):
    assert count(tmp_path, monkeypatch, own, limits) == expected


def test_without_control_groups_the_machine_s_memory_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, '_OWN_CGROUP', tmp_path / 'absent')
    assert memory.count_bytes() > 0
