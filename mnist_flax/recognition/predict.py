"""Predictions of files, folders and patterns, printed one a line."""

import glob
import json
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from mnist_flax.common.errors import UserError, require, to_line
from mnist_flax.common.files import write_atomically
from mnist_flax.recognition import pictures
from mnist_flax.recognition.recognizer import Prediction, Recognizer

# Pictures in a figure.
_MOST_SHOWN = 100


def predict_files(
    sources: Sequence[str], recognizer: Recognizer, as_json: bool, figure_path: str
) -> bool:
    """Prints what pictures show, and may draw the inputs of the network.

    Args:
      sources: Files, folders, patterns such as ``'scans/*.png'``, or ``'-'`` for the
        standard input.
      recognizer: Predicts.
      as_json: Whether to print one JSON object a line.
      figure_path: Where to write a PNG of the first hundred inputs, if any picture was
        predicted; nowhere if empty.

    Returns:
      Whether all pictures were predicted.

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
    names = recognizer.class_names
    shown: list[tuple[str, Prediction]] = []
    all_predicted = True
    for source in list_pictures(sources):
        try:
            content = _read_stdin() if source == '-' else source
            image = recognizer.to_input(content, source)
        except UserError as error:
            all_predicted = False
            if as_json:
                print(json.dumps({'file': source, 'error': str(error)}), flush=True)
            else:
                print(f'error: {error}', file=sys.stderr, flush=True)
            continue
        # One at a time, so that each is printed as soon as it is known: to convert a
        # picture to MNIST's format takes ten times as long as to predict its class.
        (prediction,) = recognizer.predict_inputs([image])
        doubt = recognizer.explain_doubt(image)
        print(_describe(source, prediction, names, as_json, doubt), flush=True)
        if doubt and not as_json:
            advice = 'try --framing=mnist if it shows a digit or letter, or invert it'
            message = f'warning: {to_line(source)}: {doubt}; {advice}'
            print(message, file=sys.stderr, flush=True)
        if len(shown) < _MOST_SHOWN:
            shown.append((source, prediction))
    if path and shown:
        from mnist_flax.reporting import figures

        figure = figures.network_inputs(
            [prediction.image for _, prediction in shown],
            [
                f'{_shorten(source)}\n{names[of.label]}  {of.confidence:.1%}'
                for source, of in shown
            ],
        )
        try:
            write_atomically({path: figures.to_png(figure)})
        except OSError as error:
            raise UserError(f'{not_a_file} ({error.strerror})') from error
    return all_predicted


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


def _describe(
    source: str, prediction: Prediction, names: Sequence[str], as_json: bool, doubt: str
) -> str:
    label, other = names[prediction.label], names[prediction.runner_up]
    probabilities = prediction.probabilities.tolist()
    if as_json:
        values = {
            'file': source,
            'prediction': label,
            'confidence': prediction.confidence,
            'runner_up': other,
            'probabilities': dict(zip(names, probabilities, strict=True)),
            **({'doubt': doubt} if doubt else {}),
        }
        return json.dumps(values)
    return (
        f'{to_line(source)}: {label} ({prediction.confidence:.1%}), else {other} '
        f'({probabilities[prediction.runner_up]:.1%})'
    )
