"""Measures how many drawings a second the demo recognises, and how long each waits.

Start the demo in another terminal, then:

  python scripts/load_demo.py
  python scripts/load_demo.py --url=http://127.0.0.1:8080 --clients=1,8,32 --seconds=20

Prints a Markdown table. Each client sends a drawing, waits for the answer and sends the
next; those who are refused since too many wait are counted apart. Clients and server share
the machine, which should have nothing else to do.
"""

from absl import flags

from mnist_flax.common import cli

_URL = flags.DEFINE_string(
    'url', 'http://127.0.0.1:8000', 'The address that scripts/demo.py has printed.'
)
_CLIENTS = flags.DEFINE_list(
    'clients', ['1', '8', '32'], 'Numbers of clients at once, each up to 200.'
)
_SECONDS = flags.DEFINE_integer(
    'seconds', 20, 'How long to measure each number of clients.', lower_bound=1
)


def main() -> None:
    """Runs `measure` with the flags."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    import demo_load
    from mnist_flax.common.errors import require

    for number in _CLIENTS.value:
        require(
            number.isdecimal() and 1 <= int(number) <= 200,
            f'--clients: found {number!r}; allowed: numbers from 1 to 200',
        )
    numbers = [int(number) for number in _CLIENTS.value]
    print(demo_load.measure(_URL.value, numbers, _SECONDS.value), end='')


if __name__ == '__main__':
    cli.run(main)
