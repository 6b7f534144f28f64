"""Exports a trained network for other programs: ONNX, StableHLO and a model card.

Without flags it exports the network that comes with the project.

  python scripts/export.py
  python scripts/export.py --workdir=outputs --export_dir=exported/mine

In --export_dir then are, all at once and only if every prediction of the test images is
the same as JAX's:

  model.onnx       for ONNX Runtime and the like; Conv, MaxPool, Gemm and a few more nodes
  model.stablehlo  for jax.export.deserialize, on a CPU, a GPU or a TPU
  model.md         what the network is, how to run both files, data, recipe, metrics, limits

Both files take uint8 images (batch, 28, 28, 1), one or more, and return logits.
A network of your own (--constructor) is written as StableHLO only. Needs the extra
`export`, ONNX and ONNX Runtime: pip install -e '.[export]'.
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
