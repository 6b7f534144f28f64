"""Predictions of files, folders and patterns, printed one a line."""

import glob
import json
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mnist_flax.common.errors import UserError, require, to_line
from mnist_flax.common.files import write_atomically
from mnist_flax.reading.reader import Digit, Reader, Reading
from mnist_flax.recognition import pictures

# Pictures in a figure.
_MOST_SHOWN = 100


def predict_files(
    sources: Sequence[str], reader: Reader, as_json: bool, figure_path: str
) -> bool:
    """Prints what pictures show, and may draw what was seen in them.

    Args:
      sources: Files, folders, patterns such as ``'scans/*.png'``, or ``'-'`` for the
        standard input.
      reader: Reads them.
      as_json: Whether to print one JSON object a line.
      figure_path: Where to write a PNG of what was seen in the first hundred, if any
        picture was read; nowhere if empty.

    Returns:
      Whether all pictures were read.

    Raises:
      UserError: The figure cannot be written.
    """
    path = pathlib.Path(os.path.expanduser(figure_path)) if figure_path else None
    not_a_file = (
        f'--save_figure: found {figure_path!r}; allowed: a file in a folder that exists'
    )
    require(
        path is None or (bool(path.name) and path.parent.is_dir() and not path.is_dir()),
        not_a_file,
    )
    names = reader.recognizer.class_names
    shown: list[tuple[str, Reading]] = []
    all_read = True
    for source in list_pictures(sources):
        try:
            content = _read_stdin() if source == '-' else pathlib.Path(source)
            # One at a time, so that each is printed as soon as it is known.
            reading = reader.read_one(content, source)
        except UserError as error:
            all_read = False
            if as_json:
                print(json.dumps({'file': source, 'error': str(error)}), flush=True)
            else:
                print(f'error: {error}', file=sys.stderr, flush=True)
            continue
        if as_json:
            print(json.dumps({'file': source, **to_json(reading, names)}), flush=True)
        else:
            print(f'{to_line(source)}: {_describe(reading, names)}', flush=True)
        if reading.doubt and not as_json:
            advice = '; try --framing=mnist if it shows a digit or letter, or invert it'
            of_edge = advice if reader.single else ''
            message = f'warning: {to_line(source)}: {reading.doubt}{of_edge}'
            print(message, file=sys.stderr, flush=True)
        if len(shown) < _MOST_SHOWN:
            shown.append((source, reading))
    if path and shown:
        from mnist_flax.reporting import figures

        figure = figures.network_inputs(
            [of.picture for _, of in shown],
            [
                f'{_shorten(source)}\n{_cut(of.text)}  {of.confidence:.1%}'
                for source, of in shown
            ],
            [[digit.box for digit in of.digits if len(of.digits) > 1] for _, of in shown],
        )
        try:
            write_atomically({path: figures.to_png(figure)})
        except OSError as error:
            raise UserError(f'{not_a_file} ({error.strerror})') from error
    return all_read


def _cut(text: str) -> str:
    return text if len(text) <= 12 else f'{text[:11]}…'


def _shorten(source: str) -> str:
    name = to_line(source)
    return name if len(name) <= 20 else f'…{name[-19:]}'


def _read_stdin() -> bytes:
    require(sys.stdin is not None, '-: there is no standard input to read a picture from')
    return pictures.read_stream(sys.stdin.buffer)


def list_pictures(sources: Sequence[str]) -> Iterator[str]:
    """Lists the files that folders and patterns stand for; the others as they are.

    Of a folder these are the pictures that are directly in it, by their suffixes.
    """
    for source in sources:
        if os.path.isdir(source):  # which, unlike pathlib, takes names of any length
            yield from _list_folder(source) or [source]
        elif glob.has_magic(source) and not os.path.exists(source):
            parent, name = os.path.split(source)
            if os.path.isdir(parent):  # whose own name may look like a pattern
                parent = glob.escape(parent)
            found = sorted(glob.glob(os.path.join(parent, name), recursive=True))
            yield from [path for path in found if not os.path.isdir(path)] or [source]
        else:
            yield source


def _list_folder(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []  # the error is reported when the folder itself is read as a picture
    names = [name for name in names if not name.startswith('.')]  # such as a Mac's ._5.png
    found = [name for name in names if _is_picture(name)]
    left = [_kind(folder, name) for name in names if not _is_picture(name)]
    if left:
        kinds = ', '.join(f'{count} {kind}' for kind, count in Counter(left).most_common(5))
        message = f'note: {to_line(folder)}: of what is there, this was left out: {kinds}'
        print(message, file=sys.stderr, flush=True)
    return [os.path.join(folder, name) for name in found]


def _is_picture(name: str) -> bool:
    return name.lower().endswith(pictures.SUFFIXES)


def _kind(folder: str, name: str) -> str:
    if os.path.isdir(os.path.join(folder, name)):
        return 'folder'
    return to_line(os.path.splitext(name)[1].lower()) or 'without a suffix'


def _describe(reading: Reading, names: Sequence[str]) -> str:
    if len(reading.digits) > 1:
        return f'{reading.text} (lowest {reading.confidence:.1%})'
    ((of, *_),) = reading.digits
    # That it is this one counts that it is a digit at all, and so does the second guess.
    probability = (
        of.confidence * of.probabilities[of.runner_up] / of.probabilities[of.label]
    )
    other = names[of.runner_up]
    return f'{reading.text} ({of.confidence:.1%}), else {other} ({probability:.1%})'


def to_json(reading: Reading, names: Sequence[str]) -> dict[str, Any]:
    """Returns a reading as JSON has it.

    Args:
      reading: The reading.
      names: Of the classes.

    Returns:
      What it says, and of the digit that is the least sure the second guess and all
      probabilities; then the same of each digit.
    """

    def describe(digit: Digit) -> dict[str, Any]:
        of = digit.prediction
        return {
            'prediction': names[of.label],
            'confidence': of.confidence,
            'runner_up': names[of.runner_up],
            'probabilities': dict(zip(names, of.probabilities.tolist(), strict=True)),
        }

    return {
        **describe(reading.least_sure),
        'prediction': reading.text,
        'digits': [
            {**describe(digit), 'box': digit.box, 'row': digit.row}
            for digit in reading.digits
        ],
        **({'doubt': reading.doubt} if reading.doubt else {}),
    }
