"""What a command prints, where the shell or the terminal gets in its way."""

import os
import subprocess
import sys

import pytest

START = 'from mnist_flax.common import cli\n'


def run(code, closed=(), **environment):
    """Runs ``code`` in a command's ``main``, some of whose standard streams are closed."""
    indented = code.replace('\n', '\n    ')
    ends = ' '.join(f'{number}>&-' for number in closed)
    program = f'{START}def main():\n    import os, sys\n    {indented}\ncli.run(main)'
    return subprocess.run(
        ['bash', '-c', f'exec "$0" "$@" {ends}', sys.executable, '-c', program],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ('environment', 'printed'),
    [
        ({'PYTHONIOENCODING': 'utf-8'}, '┃ä…\n'.encode()),
        ({'PYTHONIOENCODING': 'latin-1'}, b'|\xe4...\n'),
        ({'PYTHONIOENCODING': 'ascii'}, b'|\\xe4...\n'),
        (
            {'LC_ALL': 'POSIX', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
            b'|\\xe4...\n',
        ),
    ],
)
def test_every_terminal_can_show_what_is_printed(environment, printed):
    process = run(r"print('\u2503\xe4\u2026')", **environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, printed, b'')


@pytest.mark.parametrize('closed', [(1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_streams_go_nowhere_and_no_file_takes_their_place(closed, tmp_path):
    path = tmp_path / 'file'
    in_child = f'file = open({str(path)!r}, "w")\nfile.write(str(file.fileno()))'
    code = (
        'import subprocess\n'
        "print('out')\nprint('err', file=sys.stderr)\nos.write(2, b'library')\n"
        f'subprocess.run([sys.executable, "-c", {in_child!r}], check=True)\n'
        f'with open({str(path)!r}) as file:\n    assert file.fileno() > 2'
    )
    assert run(code, closed).returncode == 0
    assert int(path.read_text()) > 2


def test_what_trains_goes_on_when_nobody_reads_and_other_commands_end(tmp_path):
    path = tmp_path / 'done'
    code = f'for i in range(100_000):\n    print(i)\nopen({str(path)!r}, "w").close()'
    config = "cli.define_config('configs/default.py')\n"
    indented = code.replace('\n', '\n    ')
    for start, status, is_done in ((START, 141, False), (START + config, 0, True)):
        process = subprocess.Popen(
            [sys.executable, '-c', f'{start}def main():\n    {indented}\ncli.run(main)'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b''
        assert (process.wait(60), path.exists()) == (status, is_done)
        process.stderr.close()


def test_unbuffered_output_stays_unbuffered():
    config = "cli.define_config('configs/default.py')\n"
    code = (
        f'{START}{config}import os, sys\ndef main():\n    print("out", end="")\n'
        '    print("err", end="", file=sys.stderr)\n    os._exit(0)\ncli.run(main)'
    )
    process = subprocess.run(
        [sys.executable, '-u', '-c', code], capture_output=True, check=False, timeout=60
    )
    assert (process.stdout, process.stderr) == (b'out', b'err')


def test_a_pipe_of_another_kind_that_breaks_is_an_error():
    config = "cli.define_config('configs/default.py')\n"
    main = 'def main():\n    raise BrokenPipeError(32, "gone")\n'
    code = f'{START}{config}{main}cli.run(main)'
    process = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, check=False, timeout=60
    )
    assert (process.returncode, process.stderr) == (1, b'error: [Errno 32] gone\n')


def test_a_backend_of_matplotlib_that_is_none_does_not_matter():
    process = run('import matplotlib.figure', MPLBACKEND='nonsense')
    assert (process.returncode, process.stderr) == (0, b'')
