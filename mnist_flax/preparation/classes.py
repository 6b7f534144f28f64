"""The classes of labelled pictures, numbered from 0."""

import re
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
    occurring = {label for of_split in labels.values() for label in of_split}
    require(
        len(occurring) >= 2,
        f'all pictures have the label {next(iter(occurring), None)!r}; there must be at '
        'least two classes',
    )
    meant = _read(occurring, are_names=known is not None)
    distinct = {*meant.values()}
    numbered = all(isinstance(label, int) for label in distinct)
    found = sorted(distinct)
    if known and not numbered:
        unknown = [str(label) for label in found if label not in known]
        require(
            not unknown,
            f'some labels ({", ".join(unknown[:5])}) are none of the classes that the file '
            'names',
        )
        found = [*known]
    names = tuple(map(str, found))
    if wanted:
        require(
            numbered,
            '--class_names: it names classes that are numbers; these have names: '
            f'{", ".join(names[:10])}{", ..." if len(names) > 10 else ""}',
        )
        fits = all(0 <= int(label) < len(wanted) for label in distinct)
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
        split: np.array([numbers[meant[label]] for label in of_split], np.int32)
        for split, of_split in labels.items()
    }


def _read(labels: set[Label], are_names: bool) -> dict[Label, Label]:
    """Reads labels that are all numbers as these, else as names.

    Args:
      labels: Such as '7'; in tables and arrays '7.0' is the same number.
      are_names: Whether the classes are known to have names: then '7.0' is one of its own.
    """
    texts = {label: str(label) for label in labels}
    # Not '07': it and '7' could be two classes.
    number = r'(0|[1-9][0-9]{0,8})' + ('' if are_names else r'(\.0+)?')
    if all(re.fullmatch(number, text) for text in texts.values()):
        return {label: int(float(text)) for label, text in texts.items()}
    if all(isinstance(label, int) for label in labels):  # some of them negative
        return {label: label for label in labels}
    return dict(texts)
