"""Serves a page to draw digits on, or show pictures to; it shows what the networks read.

  python scripts/demo.py
  python scripts/demo.py --workdir=outputs --port=8080

Open the address that is printed. You can also drop, paste, choose or photograph a picture.
Nothing is loaded from elsewhere, and only programs on this machine reach the page; with
--host=0.0.0.0 other machines in its network do too, such as a phone.

For programs: POST /predict takes a picture and answers in JSON, as /docs describes.

  curl -F file=@photo.jpg http://127.0.0.1:8000/predict

Needs the extra `demo`. Ctrl-C ends it.
"""

from absl import flags

from mnist_flax.common import cli

cli.define_network()
cli.define_framing()
_HOST = flags.DEFINE_string(
    'host',
    '127.0.0.1',
    'Address to listen at. With 0.0.0.0 all machines that reach this one can use the demo.',
)
_PORT = flags.DEFINE_integer(
    'port', 8000, 'Port to listen at; any free one if 0.', lower_bound=0, upper_bound=65535
)
_ALLOW_HOST = flags.DEFINE_multi_string(
    'allow_host',
    [],
    'A name, such as digits.example, under which the server is reached, or of a page '
    "elsewhere that may use it. All addresses, localhost and the machine's own name are "
    'allowed anyway. Can be given several times.',
)


def main() -> None:
    """Runs `serve` with the flags."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.common.errors import UserError
    from mnist_flax.reading import reader
    from mnist_flax.recognition import networks

    try:
        from mnist_flax.demo import app, origins, server
    except ImportError as error:
        raise UserError(
            f"{error.name} is missing; install it: pip install -e '.[demo]'"
        ) from error
    allowed = origins.read_names(_ALLOW_HOST.value)
    listening = server.listen(_HOST.value, _PORT.value)
    loaded = reader.load(
        flags.FLAGS.workdir or networks.PRETRAINED,
        flags.FLAGS.constructor or networks.DEFAULT_CONSTRUCTOR,
        flags.FLAGS.framing,
    )
    server.serve(app.create_app(loaded, allowed), listening)


if __name__ == '__main__':
    cli.run(main)
