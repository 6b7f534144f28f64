"""The look of figures, which is the same whatever the user's Matplotlib is set to."""

import contextlib
from collections.abc import Iterator

import matplotlib.style


@contextlib.contextmanager
def in_our_style() -> Iterator[None]:
    """Has figures that are made and drawn meanwhile look as Matplotlib comes.

    A matplotlibrc may ask for LaTeX, say, which is not there.
    """
    with matplotlib.style.context('default'):
        yield
