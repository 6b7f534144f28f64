"""Measures how well a network knows the digits of people whom it has never seen.

They are the 1,797 digits of 8x8 pixels that come with scikit-learn (E. Alpaydin and C.
Kaynak, UCI 1998), each drawn as a picture of some size, place and polarity, which goes
through all that scripts/predict.py does. Needs the extra `strangers`.
"""

from absl import flags

from mnist_flax.common import cli

_WORKDIR = flags.DEFINE_string(
    'workdir',
    '',
    'Folder of a finished run; if empty, the network that scripts/predict.py takes.',
)


def main() -> None:
    """Runs `measure` and prints its table."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.common.errors import UserError
    from mnist_flax.evaluation import strangers
    from mnist_flax.recognition import recognizer

    try:
        from sklearn import datasets
    except ImportError as error:
        raise UserError(
            "scikit-learn is missing; allowed: pip install -e '.[strangers]'"
        ) from error
    digits = datasets.load_digits()
    loaded = recognizer.load(_WORKDIR.value)
    print(strangers.measure(loaded, digits.images, digits.target), end='')


if __name__ == '__main__':
    cli.run(main)
