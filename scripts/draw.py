"""Draws pages of digits to look at and to try things on, or a data set to train on.

  python scripts/draw.py --what=pages --number=32 outputs/pages
  python scripts/draw.py --what=digit_or_not outputs/digit_or_not.npz

Pages are photographs of rows of digits, in the hands of many people and many countries, on
many kinds of paper in many kinds of light; labels.csv says what is written in each. The
data set tells digits from other things, for scripts/prepare.py and configs/digit_or_not.py.
"""

import csv
import os
import pathlib

from absl import flags

from mnist_flax.common import cli
from mnist_flax.common.errors import UserError, require

_WHAT = flags.DEFINE_enum('what', 'pages', ['pages', 'digit_or_not'], 'What to draw.')
_NUMBER = flags.DEFINE_integer('number', 32, 'How many pages.', lower_bound=1)
_FIRST = flags.DEFINE_integer(
    'first', 0, 'The number of the first page: others differ.', lower_bound=0
)


def main(arguments: list[str]) -> None:
    """Draws, and writes the files."""
    require(len(arguments) == 1, f'one OUTPUT is needed, found {len(arguments)}')
    path = pathlib.Path(arguments[0]).expanduser()
    try:
        if _WHAT.value == 'pages':
            _draw_pages(path)
        else:
            _draw_digit_or_not(path)
    except OSError as error:
        raise UserError(f'{path}: it cannot be written ({error.strerror})') from error


def _draw_pages(folder: pathlib.Path) -> None:
    # Imported here so that --help and a mistyped flag are answered at once.
    from PIL import Image

    from mnist_flax.drawing import pages

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'labels.csv').open('w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(['file', 'digits', 'paper'])
        for number in range(_FIRST.value, _FIRST.value + _NUMBER.value):
            page = pages.draw_page(number)
            name = f'page_{number:05}.jpg'
            Image.fromarray(page.pixels).save(folder / name, quality=90)
            rows.writerow([name, page.text, page.paper])
    print(f'written to {folder}: {_NUMBER.value} pages, labels.csv')


def _draw_digit_or_not(path: pathlib.Path) -> None:
    import numpy as np

    from mnist_flax.drawing import digit_or_not

    require(
        path.suffix == '.npz' and path.parent.is_dir(),
        f'OUTPUT: found {str(path)!r}; allowed: a file whose name ends in .npz, in a '
        'folder that exists',
    )
    train, test = digit_or_not.draw(os.cpu_count() or 1)
    np.savez(
        path,
        x_train=train.images,
        y_train=train.labels,
        x_test=test.images,
        y_test=test.labels,
    )
    names = ','.join(digit_or_not.CLASS_NAMES)
    print(
        f'written to {path}. Make a data set of it: python scripts/prepare.py {path} '
        f'--name=digit_or_not --class_names={names} --data_dir=data'
    )


if __name__ == '__main__':
    cli.run(main, arguments='OUTPUT')
