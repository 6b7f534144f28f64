"""Makes a data set of your own pictures, to train on.

  python scripts/prepare.py pictures/ --name=flowers --data_dir=data --size=32x32
  python scripts/prepare.py mnist.npz --name=my_mnist --data_dir=data --framing=mnist

SOURCE is one of these:

  a folder with a folder of pictures for each class; train/ and test/ may have these
  IDX files, gzipped or not (train-images-idx3-ubyte.gz and so on), or their folder
  an NPZ file as Keras saves it (x_train, y_train, x_test, y_test), or other arrays
  a CSV file with a picture in each row, and a column of labels
  parquet files as on Hugging Face, with the columns image and label, or their folder

It writes a TFDS data set, which TFDS reads as well, without needing TensorFlow. Where the
source has no test images, a part of each class is drawn for them.
"""

import pathlib
import re
import shlex
from typing import cast

from absl import flags

from mnist_flax.common import cli
from mnist_flax.common.errors import require
from mnist_flax.common.framings import FRAMINGS, Framing

_NAME = flags.DEFINE_string(
    'name', None, 'Name of the data set: small letters, digits and underscores.'
)
_DATA_DIR = flags.DEFINE_string(
    'data_dir', '', "TFDS directory to write into; if empty, TFDS's default directory."
)
_FILE_FORMAT = flags.DEFINE_enum(
    'file_format', 'tfrecord', ['tfrecord', 'array_record'], 'How to store it.'
)
_SIZE = flags.DEFINE_string(
    'size', '', 'Resize the pictures to HxW, height and width, such as 28x28.'
)
_FRAMING = flags.DEFINE_enum(
    'framing',
    'pad',
    FRAMINGS,
    'What is taken of a picture: all, padded to the size with the colour of its edge (pad) '
    'or stretched to it (stretch); or the digit that it shows, cut out and given the form '
    "of MNIST's images, if it has another (mnist). Networks that are trained on the data "
    'set get pictures in the same way.',
)
_CHANNELS = flags.DEFINE_enum(
    'channels',
    'auto',
    ['auto', '1', '3'],
    'Gray (1) or colours (3); auto takes colours if any picture has some.',
)
_TEST_FRACTION = flags.DEFINE_float(
    'test_fraction',
    0.2,
    'Which part of each class becomes test images, if the source has none.',
    lower_bound=0,
    upper_bound=1,
)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'Seed of this drawing, and of the order.', lower_bound=0
)
_CLASS_NAMES = flags.DEFINE_list(
    'class_names',
    [],
    'Names of numbered classes, from class 0, separated by commas.',
)
_IMAGE_KEY = flags.DEFINE_string(
    'image_key', '', "Array or column of the pictures, such as 'x_{split}' in an NPZ file."
)
_LABEL_KEY = flags.DEFINE_string('label_key', '', 'Array or column of the labels.')
_PIXELS_SHAPE = flags.DEFINE_string(
    'pixels_shape', '', 'HxW or HxWxC of the pixels in a row of a CSV file.'
)
_WHITE = flags.DEFINE_float(
    'white',
    255,
    'The number that stands for white in arrays and CSV files, such as 1.',
    lower_bound=1e-6,
)


def main(arguments: list[str]) -> None:
    """Runs `prepare` with the flags."""
    name = _NAME.value or ''
    require(
        bool(re.fullmatch('[a-z][a-z0-9_]*', name)),
        f'--name: found {name!r}; allowed: small letters, digits and underscores, '
        'such as my_digits',
    )
    require(len(arguments) == 1, f'one SOURCE is needed, found {len(arguments)}')
    size = _parse_shape(_SIZE, (2,))
    shape = _parse_shape(_PIXELS_SHAPE, (2, 3))
    require(_TEST_FRACTION.value < 1, '--test_fraction: found 1; allowed: less than 1')
    # Imported here so that --help and a mistyped flag are answered at once.
    from tensorflow_datasets.core import constants

    from mnist_flax.preparation.prepare import Settings, prepare
    from mnist_flax.preparation.sources import Options

    prepare(
        pathlib.Path(arguments[0]).expanduser(),
        pathlib.Path(_DATA_DIR.value or constants.DATA_DIR).expanduser().absolute(),
        name,
        _FILE_FORMAT.value,
        _CLASS_NAMES.value,
        Options(_IMAGE_KEY.value, _LABEL_KEY.value, shape, _WHITE.value),
        Settings(
            (size[0], size[1]) if size else None,
            cast(Framing, _FRAMING.value),
            {'auto': 0, '1': 1, '3': 3}[_CHANNELS.value],
            _TEST_FRACTION.value,
            _SEED.value,
        ),
    )
    data_dir = shlex.quote(_DATA_DIR.value)
    options = f' --config.dataset.data_dir={data_dir}' if _DATA_DIR.value else ''
    print(
        'Train on it: python -m mnist_flax.main --config=configs/default.py '
        f'--config.dataset.name={name}{options}'
    )


def _parse_shape(flag: flags.FlagHolder, lengths: tuple[int, ...]) -> tuple[int, ...]:
    if not flag.value:
        return ()
    numbers = flag.value.lower().split('x')
    valid = all(number.isdecimal() for number in numbers) and len(numbers) in lengths
    channels = ', and perhaps the channels,' if 3 in lengths else ''
    require(
        valid and all(4 <= int(side) <= 1023 for side in numbers[:2]),
        f'--{flag.name}: found {flag.value!r}; allowed: height and width{channels} with an '
        'x between them, each of 4 to 1023 pixels, such as 28x28',
    )
    return tuple(map(int, numbers))


if __name__ == '__main__':
    cli.run(main, arguments='SOURCE')
