"""The numbers of the epochs of runs, as a checkpoint holds them: rows under columns."""

import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

from mnist_flax.common.errors import UserError
from mnist_flax.training.metrics import Row, row_columns


def list_columns(histories: Sequence[Sequence[Row]]) -> list[str]:
    """Lists the columns of all rows."""
    return list(dict.fromkeys(name for rows in histories for row in rows for name in row))


def read(
    about: dict[str, Any],
    path: pathlib.Path,
    is_earlier: bool,
    role: Literal['test', 'validation'],
) -> list[list[Row]]:
    """Reads the rows of histories by column; another version may have had others."""
    columns, every = about['columns'], row_columns(role)
    if is_earlier:
        renamed_columns = dict(zip(row_columns('validation'), every, strict=True))
        columns = [renamed_columns.get(name, name) for name in columns]
    try:
        named = [
            [dict(zip(columns, row, strict=True)) for row in history]
            for history in about['histories']
        ]
    except ValueError as error:
        raise UserError(
            f'--workdir: {path} has histories without the columns {", ".join(columns)}'
        ) from error
    if missing := [name for name in every if name not in columns]:
        line = f'warning: {path} was saved by another version: it has no '
        print(line + ', '.join(missing), file=sys.stderr, flush=True)
    absent = dict.fromkeys(every, math.nan)
    return [
        [absent | {name: of for name, of in row.items() if of is not None} for row in rows]
        for rows in named
    ]


def to_lists(
    histories: Sequence[Sequence[Row]], columns: Sequence[str]
) -> list[list[list[Any]]]:
    """Writes rows as lists; None where something was not measured."""
    return [[[row.get(name) for name in columns] for row in rows] for rows in histories]
