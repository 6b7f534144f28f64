"""The soak, power cuts, command lines and attacks of docs/reliability.md, but fewer."""

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


@pytest.mark.slow
def test_a_power_cut_loses_nothing_that_was_written(command):
    program = 'tests/soak/power_cuts.py'
    process = command(program, '--jobs', 'one run', '--cuts=3', '--seed=1', timeout=600)
    assert process.returncode == 0, process.stdout
    if 'cannot mount' in process.stdout:
        pytest.skip('this takes the rights to mount')
    assert '| power cuts of one run | 3 | 3 |' in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize('seed', [8, 9])
def test_no_command_line_ends_in_a_traceback(command, seed):
    process = command(
        'tests/soak/command_lines.py', '--draws=150', f'--seed={seed}', timeout=1500,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    rows = [row.split(' | ') for row in process.stdout.splitlines() if '.py |' in row]
    assert len(rows) >= 6
    assert sum(int(drawn) for _, drawn, *_ in rows) > 90


@pytest.mark.slow
def test_attacks_do_no_harm(command):
    few = ('--rounds=1', '--pictures=100', '--requests=200', '--models=20')
    # Other tests take the cores meanwhile.
    process = command('tests/soak/attacks.py', *few, '--patience=20', timeout=900)
    assert process.returncode == 0, process.stdout + process.stderr
    rows = [row for row in process.stdout.splitlines() if row.startswith('| ')]
    assert len(rows) >= 18
