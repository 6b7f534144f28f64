"""What happens until the first step: what is told, imported and interrupted."""

import contextlib
import os
import subprocess
import sys

import pytest
from repository import ROOT

SHORT = (
    '--config.dataset.train_split=train[:600]',
    '--config.dataset.test_split=test[:250]',
)


@pytest.mark.slow
def test_ctrl_c_ends_a_start_while_it_compiles(command, tmp_path):
    """In threads, which nothing can stop."""
    process = command(
        '-c',
        'import os, signal, sys, time\n'
        'import jax.stages\n'
        'from mnist_flax import main\n'
        'from mnist_flax.common import cli\n'
        'def compile(program):\n'
        '    os.kill(os.getpid(), signal.SIGINT)\n'
        '    time.sleep(1000)\n'
        'jax.stages.Lowered.compile = compile\n'
        'cli.run(main.main)\n',
        *SHORT,
        f'--workdir={tmp_path}',
        timeout=100,
    )
    assert process.returncode == 130
    assert process.stderr.endswith('error: interrupted\n')


@pytest.mark.slow
def test_a_person_at_a_terminal_is_told_what_is_being_done(tmp_path):
    pty = pytest.importorskip('pty')  # Windows lacks it
    terminal, stderr = pty.openpty()
    arguments = ['-m', 'mnist_flax.main', *SHORT, '--config.batch_size=601']
    process = subprocess.Popen(
        [sys.executable, *arguments, f'--workdir={tmp_path}'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, 'XDG_CACHE_HOME': str(tmp_path)},
    )
    os.close(stderr)
    said = b''
    with contextlib.suppress(OSError):  # raised once the other end has closed
        while block := os.read(terminal, 4096):
            said += block
    assert process.communicate(timeout=60) == (b'', None)
    lines = said.decode().splitlines()
    assert lines[0] == 'starting JAX ...'
    assert len([line for line in lines if line.startswith('decoding mnist-')]) == 2
    assert lines[-1].startswith('error: config.batch_size: found 601')


def test_training_starts_without_what_is_needed_later(command):
    """SciPy's statistics alone would take half as long as JAX."""
    process = command(
        '-c',
        'import sys, mnist_flax.train\n'
        'later = {"scipy", "matplotlib", "orbax", "tensorflow_datasets", "PIL"}\n'
        'print(later & {*sys.modules})\n',
    )
    assert process.stdout == 'set()\n', process.stderr
