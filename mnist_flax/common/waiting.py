"""What a person at a terminal is told where a program takes a while."""

import sys


def say(what: str) -> None:
    """Says what is being done; not in a log or a notebook, which nobody waits for."""
    if sys.stderr.isatty():
        print(f'{what} ...', file=sys.stderr, flush=True)
