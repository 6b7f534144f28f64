"""What a contender's program does: a line of JSON in, a call of a method, a line out."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def serve(make_contender: Callable[[Mapping[str, np.ndarray]], Any]) -> None:
    """Answers commands from stdin until it ends, with the seconds and result of each.

    Args:
      make_contender: Called with the arrays of the file that the command line names:
        ``train_images`` and ``test_images`` (uint8, examples x height x width x channels),
        ``train_labels`` and ``test_labels``, and ``num_classes``. The contender has the
        ``versions`` of its packages, and three methods, which return when their results
        are ready: ``setup(batch_size, num_examples, seed)`` makes a new network and
        compiles, or takes first steps; ``train()`` trains on every one of the first
        ``num_examples`` once, in a new random order; ``evaluate()`` counts the correct
        predictions among all test images.
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
