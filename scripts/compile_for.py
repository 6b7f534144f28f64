"""Compiles the programs of a config for devices that are not here.

Before a job waits in a queue: do its programs compile there, do they fit in the memory, and
what do they cost? Nothing runs, and no time is measured; the estimates are the compiler's.

  python scripts/compile_for.py --chip=tpu_v5e
  python scripts/compile_for.py --chip=tpu_v5e --devices=256 --config.batch_size=8192
  python scripts/compile_for.py --chip=h100 --config=configs/accurate.py --config.runs=64

For a TPU it needs libtpu: pip install -e '.[tpu]' (480 MB); for an H100 JAX's CUDA plugin:
pip install -e '.[gpu]' (4.4 GB). No TPU and no GPU need be there.
"""

import os

from absl import flags

from mnist_flax import aot
from mnist_flax.common import cli

cli.define_config(default='configs/default.py')
_CHIP = flags.DEFINE_enum('chip', 'tpu_v5e', aot.CHIPS, 'For which kind of device.')
_DEVICES = flags.DEFINE_integer('devices', 1, 'How many of them.', lower_bound=1)


def main() -> None:
    """Compiles, program by program, and prints what the compiler says."""
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # not the compilers' warnings
    # Imported here so that --help and a mistyped flag are answered without JAX's start-up.
    from mnist_flax.aot import chips, report

    described = chips.describe(_CHIP.value, _DEVICES.value)
    print(report.describe_devices(_CHIP.value, described), flush=True)
    for compilation in report.compile_for(flags.FLAGS.config, described):
        print(report.write(compilation), end='', flush=True)


if __name__ == '__main__':
    cli.run(main)
