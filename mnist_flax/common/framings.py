"""The ways in which a picture becomes an image for a network."""

from typing import Literal, get_args

# 'mnist' cuts a digit or letter out and gives it MNIST's format: white on black, centred,
# 28x28. 'pad' and 'stretch' resize the whole picture, which keeps its proportions or not.
Framing = Literal['pad', 'stretch', 'mnist']
FRAMINGS: tuple[Framing, ...] = get_args(Framing)
