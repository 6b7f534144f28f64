"""Numbers to text: CSV, JSON, plain lines and Markdown tables."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Writes rows under a header; what is not a number becomes an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(header)
    writer.writerows(['' if _is_nan(cell) else cell for cell in row] for row in rows)
    return buffer.getvalue()


def to_json(tree: Any) -> str:
    """Writes a tree of plain values, indented; what is not finite becomes null."""
    return json.dumps(to_finite(tree), indent=2, allow_nan=False) + '\n'


def to_finite(tree: Any) -> Any:
    """Replaces numbers that JSON does not know, which are not finite, by None."""
    if isinstance(tree, dict):
        return {name: to_finite(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [to_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def to_text(tree: Any) -> str:
    """Writes a tree of plain values, a line each: its path, a colon, the value."""
    lines: list[str] = []

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f'{path}.{key}' if path else str(key), item)
        elif isinstance(value, list) and value and not isinstance(value[0], dict):
            lines.append(f'{path}: {", ".join(map(str, value))}')
        elif isinstance(value, list):
            for i, item in enumerate(value):
                add(f'{path}.{i}', item)
        elif isinstance(value, tuple):
            lines.append(f'{path}: {" to ".join(f"{item:.6g}" for item in value)}')
        elif isinstance(value, float):
            lines.append(f'{path}: {value:.6g}')
        else:
            lines.append(f'{path}: {value}')

    add('', tree)
    return '\n'.join(lines) + '\n'


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Writes a table, of which the first row is the header."""
    rows = [[cell.replace('|', '\\|') for cell in row] for row in rows]
    ruled = [rows[0], ['---'] * len(rows[0]), *rows[1:]]
    return '\n'.join(f'| {" | ".join(row)} |' for row in ruled) + '\n'


def to_columns(rows: Sequence[Sequence[str]]) -> str:
    """Writes a table in plain text, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return '\n'.join(lines) + '\n'


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)
