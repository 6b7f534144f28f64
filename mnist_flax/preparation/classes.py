"""The classes of labelled pictures, numbered from 0."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int32

from mnist_flax.common.errors import require
from mnist_flax.preparation.sources import Label


def number(
    labels: Mapping[str, Sequence[Label]],
    known: tuple[str, ...] | None,
    wanted: tuple[str, ...],
) -> tuple[tuple[str, ...], dict[str, Int32[np.ndarray, '_']]]:
    """Numbers the classes.

    Args:
      labels: The labels of each split: names, or numbers.
      known: The names of the classes, if the labels are names of these.
      wanted: Names for numbered classes, if any: of the classes 0, 1, ..., or in ascending
        order of the numbers that occur.

    Returns:
      The names of the classes, and the labels as their numbers. Without other names a
      number is its own name.

    Raises:
      UserError: There are fewer than two classes, or the names do not fit.
    """
    distinct = {label for of_split in labels.values() for label in of_split}
    mixed = len({isinstance(label, str) for label in distinct}) > 1
    require(
        not mixed, 'some labels are numbers and others are names; they must be of one kind'
    )
    found = list(known) if known else sorted(distinct)
    require(
        len(distinct) >= 2,
        f'all pictures have the label {next(iter(distinct), None)!r}; there must be at '
        'least two classes',
    )
    names = tuple(map(str, found))
    if wanted:
        numbered = all(isinstance(label, int) for label in distinct)
        fits = numbered and all(0 <= int(label) < len(wanted) for label in distinct)
        require(
            len(wanted) == len(found) or fits,
            f'--class_names: {len(wanted)} names are given for {len(found)} classes '
            f'({", ".join(names[:10])}{", ..." if len(names) > 10 else ""})',
        )
        found = [*range(len(wanted))] if fits else found
        names = wanted
    require(
        len({*names}) == len(names)
        and all(name.strip() == name != '' and name.isprintable() for name in names),
        'the names of the classes must differ, and have no line ends and no spaces around '
        f'them; found {", ".join(map(repr, names))[:200]}',
    )
    numbers = {label: i for i, label in enumerate(found)}
    return names, {
        split: np.array([numbers[label] for label in of_split], np.int32)
        for split, of_split in labels.items()
    }
