"""Lint, format, types and import directions, so that the test command checks them."""

import pytest

IMPORTS = 'from importlinter.cli import lint_imports_command; lint_imports_command()'


@pytest.mark.parametrize(
    'check',
    [
        ('-m', 'ruff', 'check', '.'),
        ('-m', 'ruff', 'format', '--check', '.'),
        ('-m', 'mypy'),
        ('-c', IMPORTS),
    ],
    ids=['lint', 'format', 'types', 'imports'],
)
def test_style(command, check):
    process = command(*check)
    assert process.returncode == 0, process.stdout + process.stderr
