"""What else can be measured while runs train: the functions for `config.evaluators`."""

from mnist_flax.evaluators.confidence import calibration as calibration
from mnist_flax.evaluators.other_images import split as split
from mnist_flax.evaluators.worse_images import corruptions as corruptions
