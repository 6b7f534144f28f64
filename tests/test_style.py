"""Lint, format and types, so that the test command checks them too."""

import pytest


@pytest.mark.parametrize(
    'check',
    [('ruff', 'check', '.'), ('ruff', 'format', '--check', '.'), ('mypy',)],
    ids=['lint', 'format', 'types'],
)
def test_style(command, check):
    process = command('-m', *check)
    assert process.returncode == 0, process.stdout + process.stderr
