"""The default network as a run with other facts, and its export, for the tests of that."""

import onnxruntime

from mnist_flax.checkpointing import checkpoints
from mnist_flax.export.export import export
from mnist_flax.recognition import recognizer

FILES = {'model.onnx', 'model.stablehlo', 'model.md'}
DEFAULT = recognizer.PRETRAINED.parent / 'default'  # one network


def change(folder, change_about=lambda about: None):
    """Writes the default network anew, with other facts."""
    read = checkpoints.read(DEFAULT / 'model')
    about = dict(read.about)
    # A part suffices, and a formulation that is compiled fast.
    about['config']['dataset']['test_split'] = 'test[:600]'
    about['config']['model']['conv'] = 'xla'
    change_about(about)
    checkpoints.write(folder / 'model', dict(read.arrays), about)
    return folder


def run(workdir, folder, number=0, constructor=recognizer.OURS):
    export.export_network(workdir, constructor, folder, number)


def start(path):
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
