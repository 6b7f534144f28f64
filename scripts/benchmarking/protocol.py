"""Answers the benchmark's commands, a line of JSON each, by a contender's methods."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np


class Contender(Protocol):
    """What every contender can do; a method returns when its results are ready."""

    versions: dict[str, str]  # of its packages

    def setup(self, batch_size: int, num_examples: int, seed: int) -> None:
        """Makes a new network and compiles, or takes the first steps of, its training.

        Args:
          batch_size: Examples a step.
          num_examples: How many of the training examples make an epoch, the first ones.
          seed: Source of the randomness.
        """

    def train(self) -> None:
        """Trains on every example of the epoch once, in a new random order."""

    def evaluate(self) -> int:
        """Counts the correct predictions among all test images."""


def serve(make_contender: Callable[[Mapping[str, np.ndarray]], Contender]) -> None:
    """Answers commands from stdin until it ends, with the seconds that each one took.

    Args:
      make_contender: Called with the arrays of the file that the command line names:
        ``train_images`` and ``test_images`` (uint8, examples x 28 x 28 x 1) and
        ``train_labels`` and ``test_labels``.
    """
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    with np.load(sys.argv[1]) as arrays:
        contender = make_contender(dict(arrays))
    versions = {'python': platform.python_version(), **contender.versions}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        arguments = json.loads(line)
        method = getattr(contender, arguments.pop('command'))
        start = time.perf_counter()
        result = method(**arguments)
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, result]), file=answers, flush=True)
