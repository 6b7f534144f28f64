"""The default network as a run with other facts, and its export, for the tests of that."""

import onnxruntime

from mnist_flax.checkpointing import checkpoints
from mnist_flax.export import export
from mnist_flax.recognition.networks import PRETRAINED

FILES = {'model.onnx', 'model.stablehlo', 'model.md'}
DEFAULT = PRETRAINED.parent / 'default'  # one network


def change(folder, change_about=lambda about: None):
    """Writes the default network as a run with other facts."""
    read = checkpoints.read(DEFAULT / 'model')
    about = dict(read.about)
    # A few images suffice, and a convolution that compiles fast.
    about['config']['dataset']['test_split'] = 'test[:600]'
    about['config']['model']['conv'] = 'xla'
    change_about(about)
    checkpoints.write(folder / 'model', dict(read.arrays), about)
    return folder


def run(workdir, folder, number=0, constructor=''):
    export.export_network(str(workdir), constructor, folder, number)


def run_onnx(folder, images):
    path = folder / 'model.onnx'
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.run(['logits'], {'images': images})[0]
