"""Devices that there are not, and compilers that are not installed."""

import importlib.util

import pytest

from mnist_flax.aot import chips
from mnist_flax.common.errors import UserError


@pytest.mark.parametrize(
    ('chip', 'num_devices', 'message'),
    [
        ('tpu_v5e', 3, '--devices: found 3; allowed: 1, 4, 8, .* in which tpu_v5e comes'),
        ('h100', 8, '--devices: found 8; allowed: 1, since'),
    ],
)
def test_devices_that_there_are_not(chip, num_devices, message):
    with pytest.raises(UserError, match=message):
        chips.describe(chip, num_devices)


@pytest.mark.parametrize(('chip', 'extra'), [('tpu_v6e', 'tpu'), ('h100', 'gpu')])
def test_a_compiler_that_is_not_installed(monkeypatch, chip, extra):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=rf"--chip: .* pip install .*'\.\[{extra}\]'"):
        chips.describe(chip, 1)
