"""Exports a trained network for other programs: ONNX, StableHLO and a model card.

Without flags it exports the first of the networks that come with the project.

  python scripts/export.py
  python scripts/export.py --workdir=outputs --export_dir=exported/mine

It writes these files, if all their predictions of the test images are those of JAX:

  model.onnx       for ONNX Runtime and similar programs
  model.stablehlo  for jax.export.deserialize, on a CPU, a GPU or a TPU
  model.md         the model card: use, data, recipe, metrics, limits

Both models take uint8 images (batch, 28, 28, 1) and return logits. Of a model of your own
(--constructor) no ONNX file is made. Needs ONNX and ONNX Runtime:
pip install -e '.[export]'.
"""

import pathlib

from absl import flags

from mnist_flax.common import cli

cli.define_network()
_EXPORT_DIR = flags.DEFINE_string(
    'export_dir', 'exported', 'Folder for the files; made if it is missing.'
)
_RUN = flags.DEFINE_integer(
    'run', 0, 'Which of several networks of the run, counted from 0.'
)


def main() -> None:
    """Runs `export_network` with the flags."""
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.common.errors import require
    from mnist_flax.export import export

    require(bool(_EXPORT_DIR.value), "--export_dir: found ''; allowed: a folder")
    export.export_network(
        flags.FLAGS.workdir,
        flags.FLAGS.constructor,
        pathlib.Path(_EXPORT_DIR.value).expanduser(),
        _RUN.value,
    )


if __name__ == '__main__':
    cli.run(main)
