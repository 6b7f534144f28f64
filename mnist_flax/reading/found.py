"""A digit on a page, or something else that was proposed for one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mnist_flax.reading.boxes import Box


class Found(NamedTuple):
    """What the networks say of something on a page."""

    image: UInt8[np.ndarray, '28 28 1']  # in MNIST's format
    box: Box
    area: int  # pixels with ink
    strength: float  # as in `segments.Candidate`
    is_digit: float  # the probability of that
    probabilities: Float[np.ndarray, 'classes']  # of each digit, if it is one

    @property
    def digit(self) -> int:
        """The most probable one."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """The probability that it is a digit, and that one."""
        return self.is_digit * float(self.probabilities.max())
