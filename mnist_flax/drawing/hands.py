"""Hands: each writes a digit in a form of its own, and never twice the same."""

import dataclasses

import numpy as np

from mnist_flax.drawing.curves import Stroke, wobble
from mnist_flax.drawing.forms import FORMS


@dataclasses.dataclass(frozen=True)
class Hand:
    """A person's way to write; fields as `meet` chooses them."""

    seed: int
    slant: float  # sideways by a part of the height; positive to the right at the top
    aspect: float  # its digits are so many times as wide as others'
    wobble: float  # in heights
    pen: float  # its width, in heights

    def write(self, digit: int, rng: np.random.Generator) -> list[Stroke]:
        """Writes a digit.

        Args:
          digit: From 0 to 9.
          rng: Chooses what differs each time.

        Returns:
          Strokes, from 0 to 1 or about that far down, and around 0 sideways.
        """
        own = np.random.default_rng([self.seed, digit])
        forms = FORMS[digit]
        weights = np.array([form.weight for form in forms])
        form = forms[own.choice(len(forms), p=weights / weights.sum())]
        strokes = wobble(form.draw(own), self.wobble, own)
        strokes = wobble(strokes, 0.6 * self.wobble, rng)
        wide = self.aspect * rng.uniform(0.92, 1.08)
        turn = np.array([[wide, 0], [-self.slant + rng.normal(0, 0.03), 1]])
        return [(stroke - [0, 0.5]) @ turn + [0, 0.5] for stroke in strokes]


def meet(seed: int) -> Hand:
    """Chooses a hand; the same one for a seed."""
    rng = np.random.default_rng([seed, 10])
    return Hand(
        seed=seed,
        slant=float(np.clip(rng.normal(0.08, 0.14), -0.25, 0.5)),
        aspect=float(rng.uniform(0.75, 1.3)),
        wobble=float(rng.uniform(0.005, 0.035)),
        pen=float(np.exp(rng.uniform(np.log(0.04), np.log(0.24)))),
    )
