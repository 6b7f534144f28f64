"""Measures how many digits of other people a network recognises in pictures.

They are the 1,797 digits of 8x8 pixels that come with scikit-learn (E. Alpaydin and C.
Kaynak, UCI 1998), each drawn as a picture of some size and place, dark on light or the
reverse. It goes through everything that scripts/predict.py does. Needs the extra
`strangers`.
"""

from absl import flags

from mnist_flax.common import cli

_WORKDIR = flags.DEFINE_string(
    'workdir', '', 'Folder of a finished run; if empty, the networks of the package.'
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
            "scikit-learn is missing; install it: pip install -e '.[strangers]'"
        ) from error
    digits = datasets.load_digits()
    loaded = recognizer.load(_WORKDIR.value)
    print(strangers.measure(loaded, digits.images, digits.target), end='')


if __name__ == '__main__':
    cli.run(main)
