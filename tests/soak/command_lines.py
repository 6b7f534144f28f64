"""Command lines, configs and small files as they are drawn: none ends in a traceback.

  python tests/soak/command_lines.py --draws=500 --seed=1

A command ends well, or with one line that starts with ``error: ``. What takes longer than
its time is told to end, as by a user.
"""

import argparse
import contextlib
import multiprocessing
import os
import pathlib
import re
import runpy
import signal
import sys
import tempfile
import time
from collections import Counter

import hypothesis
from drawn_commands import PROGRAMS, draw_command

ROOT = pathlib.Path(__file__).parents[2]

# Seconds until a command is told to end, and then is late.
_PATIENCE, _GRACE = 12, 30


def _run(program, arguments, folder, output):
    """Runs a program in this process, which has been made for that."""
    os.setsid()
    os.chdir(folder)
    for number, name in ((1, 'out'), (2, 'err')):
        os.dup2(os.open(f'{output}.{name}', os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)  # noqa: SIM115
        for number, mode in ((0, 'r'), (1, 'w'), (2, 'w'))
    )
    sys.path.insert(0, str(ROOT))
    sys.argv = [program, *arguments]
    if program.endswith('.py'):
        sys.argv[0] = str(ROOT / program)
        sys.path.insert(0, str(ROOT / 'scripts'))
        runpy.run_path(str(ROOT / program), run_name='__main__')
    else:
        runpy.run_module(program, run_name='__main__', alter_sys=True)
    sys.stdout.flush()


def make_context():
    """Makes processes that have imported the libraries already."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([
        'mnist_flax.train', 'mnist_flax.ablation.ablation', 'mnist_flax.evaluation.report',
        'mnist_flax.export.export', 'mnist_flax.recognition.recognizer',
        'mnist_flax.preparation.prepare', 'command_lines',
    ])  # fmt: skip
    return context


def check_command(context, command):
    """Runs a command, and returns its exit status.

    Raises:
      AssertionError: It ends in another way than a user could understand.
    """
    program, arguments, files = command
    with tempfile.TemporaryDirectory(prefix='fuzz_') as folder:
        for name, content in files.items():
            path = pathlib.Path(folder, name)
            with contextlib.suppress(OSError):  # two that cannot be there both
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        words = [word.replace('{folder}', folder) for word in arguments]
        output = f'{folder}.output'
        process = context.Process(target=_run, args=(program, words, folder, output))
        process.start()
        process.join(_PATIENCE)
        late = process.is_alive()
        if late:
            os.kill(process.pid, signal.SIGTERM)
            process.join(_GRACE)
        if process.is_alive():
            process.kill()
            process.join()
        out, err = (
            pathlib.Path(f'{output}.{name}').read_text(errors='replace')
            for name in ('out', 'err')
        )
        for name in ('out', 'err'):
            os.unlink(f'{output}.{name}')
    status = process.exitcode
    shown = f'{program} {words}: status {status}\n{out[-1000:]}\n{err[-3000:]}'
    assert status in ((0, 1, 2, 143) if late else (0, 1, 2)), shown
    assert 'Traceback' not in out + err, shown
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith('error: ')]
    known = re.compile('error: |warning: |note: |saving the run; ')
    assert all(known.match(line) for line in lines), shown
    per_picture = program == 'scripts/predict.py'  # a line for each, or JSON
    assert status not in (2, 143) or len(errors) == 1, shown
    assert status != 1 or len(errors) == 1 or per_picture, shown
    assert not (status == 0 and errors), shown
    return status


def main():
    """Draws as many as the flags say, and prints how they ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--draws', type=int, default=500)
    parser.add_argument('--seed', type=int, default=0)
    flags = parser.parse_args()
    context = make_context()
    ends, bad = Counter(), []

    @hypothesis.seed(flags.seed)
    @hypothesis.settings(
        max_examples=flags.draws, deadline=None, database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(draw_command())
    def try_one(command):
        start = time.perf_counter()
        try:
            status = check_command(context, command)
        except AssertionError as error:
            bad.append(str(error))
            print(f'--- {error}', flush=True)
            status = 'bad'
        ends[command[0], status] += 1
        seconds[command[0]] += time.perf_counter() - start

    seconds = Counter()
    try_one()
    print('| command | drawn | ended well | one line | told to end | bad |')
    print('|---|---|---|---|---|---|')
    for program in sorted(PROGRAMS):
        of = [ends[program, end] for end in (0, 1, 2, 143, 'bad')]
        print(f'| {program} | {sum(of)} | {of[0]} | {of[1] + of[2]} | {of[3]} | {of[4]} |')
    print({name: round(of) for name, of in seconds.items()})
    sys.exit(bool(bad))


if __name__ == '__main__':
    main()
