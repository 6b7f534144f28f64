"""Says what pictures show: digits, or what a network of your own knows.

For each picture it prints the name and what it shows: one digit, with its probability and
the second guess, or several, row by row, with the probability of the one that is the least
sure.

  python scripts/predict.py photo.jpg scans/ 'more/*.png'
  python scripts/predict.py --workdir=outputs --json - < photo.jpg

A picture shows digits, on paper or a screen, in any colour and light; --single takes it for
one digit. Digits are converted to the format of MNIST's images first; --save_figure shows
what was seen. Networks that were trained on other things get the whole picture, resized;
--framing chooses. Pictures that cannot be read are reported on the standard error, with the
reason; the others are read all the same, and the exit status is 1.
"""

import sys

from absl import flags

from mnist_flax.common import cli

cli.define_network()
cli.define_framing()
_JSON = flags.DEFINE_bool(
    'json', False, 'Print one JSON object a line, with the probabilities of all classes.'
)
_SAVE_FIGURE = flags.DEFINE_string(
    'save_figure',
    '',
    'PNG file for a figure of what was seen in the first hundred pictures: the input of '
    'the network, or several digits with a box around each.',
)
_SINGLE = flags.DEFINE_bool(
    'single', False, 'Take each picture for one digit, and do not look for others.'
)


def main(sources: list[str]) -> None:
    """Runs `predict_files` with the flags."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.reading import reader
    from mnist_flax.reading.predict import predict_files

    loaded = reader.load(
        flags.FLAGS.workdir, flags.FLAGS.constructor, flags.FLAGS.framing, _SINGLE.value
    )
    sys.exit(not predict_files(sources, loaded, _JSON.value, _SAVE_FIGURE.value))


if __name__ == '__main__':
    cli.run(main, arguments='IMAGE')
