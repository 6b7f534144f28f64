"""A contender's program, running, as an object of the benchmark's."""

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from mnist_flax.common.errors import UserError

_ROOT = pathlib.Path(__file__).parent.parent
MOST_EXAMPLES = 60000  # to train on, in mnist.npz


class Program(NamedTuple):
    """How a contender is started."""

    module: str  # in scripts/contenders
    options: list[str]
    packages: list[str]  # of the peers' Python; none: this project's Python runs it


PROGRAMS = {
    'mnist_flax': Program('ours', [], []),
    'pytorch': Program('pytorch', [], ['torch']),
    'pytorch_compile': Program('pytorch', ['--compile'], ['torch']),
    'keras': Program('keras_tensorflow', [], ['keras', 'tensorflow']),
}


class Contender:
    """The running program of a contender; it does one thing at a time.

    Args:
      name: Its name in `PROGRAMS`.
      peers_python: The Python that has the peers' packages.
      scratch: Folder with ``mnist.npz``, and for the program's log.
    """

    def __init__(self, name: str, peers_python: str, scratch: pathlib.Path):
        module, options, packages = PROGRAMS[name]
        data = str(scratch / 'mnist.npz')
        python = peers_python if packages else sys.executable
        self.name = name
        self._log = scratch / f'{name}.log'
        with self._log.open('w') as log:
            self._process = subprocess.Popen(
                [python, '-m', f'scripts.contenders.{module}', data, *options],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.versions: dict[str, str] = self._receive()

    def __enter__(self) -> 'Contender':
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()  # it has nothing to finish
        self._process.communicate()

    def setup(self, batch_size: int, num_examples: int, seed: int) -> float:
        """Makes a new network and gets it ready to train; returns the seconds."""
        seconds, _ = self._ask(
            command='setup', batch_size=batch_size, num_examples=num_examples, seed=seed
        )
        return seconds

    def train(self) -> float:
        """Trains for an epoch; returns the seconds."""
        return self._ask(command='train')[0]

    def evaluate(self) -> tuple[float, int]:
        """Tests the network; returns the seconds and the number of correct predictions."""
        return self._ask(command='evaluate')

    def setup_population(self, num_runs: int, num_at_once: int, num_examples: int) -> None:
        """Makes new networks and gets them ready to train; of mnist_flax only."""
        self._ask(
            command='setup_population',
            num_runs=num_runs,
            num_at_once=num_at_once,
            num_examples=num_examples,
        )

    def train_population(self) -> float:
        """Trains each of them for an epoch; returns the seconds."""
        return self._ask(command='train_population')[0]

    def _ask(self, **command: Any) -> Any:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise failure(self.name, self._log)
        return json.loads(answer)


def failure(name: str, log: pathlib.Path) -> UserError:
    """Explains why a program ended early, by the last line of its log."""
    lines = log.read_text().split('\n')
    reason = next((line for line in reversed(lines) if line.strip()), 'it says nothing')
    return UserError(f'the contender {name!r} ended early; the last it said: {reason}')


def find_missing(packages: Sequence[str], peers_python: str) -> list[str]:
    """Looks for packages in the peers' Python; returns those that it has not."""
    code = (
        'import sys; from importlib.util import find_spec; '
        'print(*(name for name in sys.argv[1:] if not find_spec(name)))'
    )
    try:
        output = subprocess.check_output([peers_python, '-c', code, *packages], text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f'--peers_python: found {peers_python!r}, which does not run; '
            'allowed: a Python interpreter'
        ) from error
    return output.split()
