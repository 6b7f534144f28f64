"""The soak of docs/reliability.md, with fewer kills."""

import pytest


@pytest.mark.slow
def test_every_case_of_the_soak_passes(command):
    process = command('tests/soak/soak.py', '--kills=4', '--seed=1', timeout=1200)
    assert process.returncode == 0, process.stdout
    table = process.stdout.split('| what happened | tried | passed |\n|---|---|---|\n')[1]
    rows = [row.strip('| ').split(' | ') for row in table.splitlines()]
    assert len(rows) >= 14
    assert sum(int(tried) for what, tried, _ in rows if what.startswith('kill -9')) == 4
    for what, tried, passed in rows:
        assert tried == passed, what
