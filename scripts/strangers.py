"""Measures how well pictures of other people's digits are read.

First come the 1,797 digits of 8x8 pixels that come with scikit-learn (E. Alpaydin and C.
Kaynak, UCI 1998), each drawn as a picture of some size and place, dark on light or the
reverse. With --pages come drawn photographs as well: rows of digits, single digits, and
pictures in which nothing is a digit, on many papers in many lights, by hands that no
network was trained on. All go through everything that scripts/predict.py does. Needs the
extra `strangers`.
"""

from absl import flags

from mnist_flax.common import cli

_WORKDIR = flags.DEFINE_string(
    'workdir', '', 'Folder of a finished run; if empty, the networks of the package.'
)
_PAGES = flags.DEFINE_integer(
    'pages', 0, 'How many drawn photographs of each of the three kinds.', lower_bound=0
)


def main() -> None:
    """Measures, and prints the tables."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.common.errors import UserError
    from mnist_flax.evaluation import drawn_pages, strangers
    from mnist_flax.reading import reader

    try:
        from sklearn import datasets
    except ImportError as error:
        raise UserError(
            "scikit-learn is missing; install it: pip install -e '.[strangers]'"
        ) from error
    digits = datasets.load_digits()
    loaded = reader.load(_WORKDIR.value)
    print(strangers.measure(loaded, digits.images, digits.target), end='', flush=True)
    if _PAGES.value:
        print(drawn_pages.measure(loaded, _PAGES.value), end='')


if __name__ == '__main__':
    cli.run(main)
