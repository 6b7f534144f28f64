"""Says what pictures show: digits, or what a network of your own knows.

For each picture it prints the name, the class, its probability, and the second guess.

  python scripts/predict.py photo.jpg scans/ 'more/*.png'
  python scripts/predict.py --workdir=outputs --json - < photo.jpg

A picture shows one digit, on paper or a screen, in any colour and light. It is converted
to the format of MNIST's images first; --save_figure shows the result. Networks that were
trained on other things get the whole picture, resized; --framing chooses. Files that cannot
be read, and pictures with no digit or several, are reported on the standard error; the
others are predicted all the same, and the exit status is 1.
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
    'PNG file for a figure of the inputs of the network, of the first hundred pictures.',
)


def main(sources: list[str]) -> None:
    """Runs `predict_files` with the flags."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.recognition import recognizer
    from mnist_flax.recognition.predict import predict_files

    loaded = recognizer.load(
        flags.FLAGS.workdir, flags.FLAGS.constructor, flags.FLAGS.framing
    )
    sys.exit(not predict_files(sources, loaded, _JSON.value, _SAVE_FIGURE.value))


if __name__ == '__main__':
    cli.run(main, arguments='IMAGE')
