"""Measurement of how well drawn photographs of digits are read."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mnist_flax.common import intervals, tables
from mnist_flax.common.errors import UserError
from mnist_flax.drawing import pages
from mnist_flax.drawing.pages import Page
from mnist_flax.reading.reader import Reader

# Hands of which no network has seen a digit, and pages that were not looked at while the
# code was written.
FIRST = 5_000_000

# Below so much confidence an answer may be looked at again.
_CONFIDENCES = (0.0, 0.7, 0.9, 0.97)


class _Result(NamedTuple):
    wanted: str
    found: str  # '' if the picture was refused
    confidence: float
    paper: str


def measure(reader: Reader, number: int) -> str:
    """Tabulates how the pages are read, as Markdown.

    Args:
      reader: Reads them.
      number: How many of each kind: rows of digits, single digits, and no digits.

    Returns:
      How many are read right, which takes every digit of a picture, are answered with
      something else, and are refused; and how right the answers are that are more
      confident.
    """
    rows = _read_all(reader, pages.draw_page, number)
    single = _read_all(reader, pages.draw_single, number)
    nothing = _read_all(reader, pages.draw_nothing, number)
    table = [['pictures', 'read right, %', '95 % interval', 'answered wrong, %', 'number']]
    table += [
        _describe('rows of digits', rows),
        *(
            _describe(f'… {paper}', [of for of in rows if of.paper == paper])
            for paper in pages.PAPERS
            if any(of.paper == paper for of in rows)
        ),
        _describe('single digits', single),
        _describe('no digits', nothing),
    ]
    sure = [
        ['confidence', 'rows answered, %', 'right of these, %', 'no digits answered, %']
    ]
    for least in _CONFIDENCES:
        answered = [of for of in rows if of.found and of.confidence >= least]
        wrongly = [of for of in nothing if of.found and of.confidence >= least]
        right = sum(of.found == of.wanted for of in answered)
        sure.append(
            [
                f'{least} or more',
                _percent(len(answered), len(rows)),
                _percent(right, len(answered)),
                _percent(len(wrongly), len(nothing)),
            ]
        )
    return f'{tables.to_markdown(table)}\n{_count_errors(rows)}\n{tables.to_markdown(sure)}'


def _read_all(reader: Reader, draw: Callable[[int], Page], number: int) -> list[_Result]:
    def read() -> Iterator[_Result]:
        for i in range(FIRST, FIRST + number):
            page = draw(i)
            try:
                reading = reader.read_one(page.pixels, 'page')
            except UserError:
                yield _Result(page.text, '', 0.0, page.paper)
            else:
                yield _Result(page.text, reading.text, reading.confidence, page.paper)

    return list(read())


def _describe(name: str, results: list[_Result]) -> list[str]:
    right = sum(of.found == of.wanted for of in results)  # of no digits, what is refused
    wrong = sum(of.found not in ('', of.wanted) for of in results)
    low, high = intervals.wilson_interval(right, len(results))
    return [
        name,
        _percent(right, len(results)),
        f'{low:.1%} to {high:.1%}',
        _percent(wrong, len(results)),
        f'{len(results):,}',
    ]


def _count_errors(rows: list[_Result]) -> str:
    answered = [of for of in rows if of.found]
    digits = sum(len(of.wanted.replace('/', '')) for of in answered)
    errors = sum(_count_edits(of.wanted, of.found) for of in answered)
    return (
        f'In the {len(answered):,} rows of digits that were answered, {errors:,} of '
        f'{digits:,} digits were wrong, missing or too many '
        f'({_percent(errors, digits)} %).\n'
    )


def _count_edits(wanted: str, found: str) -> int:
    """Counts what has to be changed, added or left out (Levenshtein 1966)."""
    counts = list(range(len(found) + 1))
    for i, one in enumerate(wanted, 1):
        above, counts[0] = counts[0], i
        for j, other in enumerate(found, 1):
            above, counts[j] = (
                counts[j],
                min(counts[j] + 1, counts[j - 1] + 1, above + (one != other)),
            )
    return counts[-1]


def _percent(part: int, whole: int) -> str:
    return f'{100 * part / max(whole, 1):.1f}'
