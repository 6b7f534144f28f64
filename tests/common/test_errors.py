"""Errors of a command: one line each."""

import pytest


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        ('raise MemoryError', 'the memory does not suffice (MemoryError: ); use fewer or'),
        (
            'raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")',
            'the memory does not suffice (RuntimeError: RESOURCE_EXHAUSTED: Out of memory)',
        ),
        (
            'raise UserError("it " + 100_000 * "very " + "wrong")',
            'it very very ',
        ),
    ],
)
def test_an_error_is_one_line_of_bounded_length(command, code, message):
    start = 'from mnist_flax.common import cli\nfrom mnist_flax.common.errors import *\n'
    process = command('-c', f'{start}def main():\n    {code}\ncli.run(main)')
    assert process.returncode == 1
    assert process.stderr.startswith(f'error: {message}')
    assert process.stderr.count('\n') == 1
    assert len(process.stderr) < 2100


def test_too_little_address_space_is_one_line_before_anything_crashes(command, tmp_path):
    limit = 'import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))'
    run = 'import runpy; runpy.run_module("mnist_flax.main", run_name="__main__")'
    process = command('-c', f'{limit}\n{run}', f'--workdir={tmp_path}/workdir')
    assert process.stderr == (
        'error: this process may have 1 GiB of address space; JAX and its libraries need '
        '3 GiB, so set ulimit -v unlimited\n'
    )
    assert process.returncode == 1
    assert not (tmp_path / 'workdir').exists()
