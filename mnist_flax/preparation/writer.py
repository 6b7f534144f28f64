"""A TFDS data set, written without TensorFlow."""

import io
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from mnist_flax.common.files import make_folder, sync, sync_tree
from mnist_flax.common.framings import Framing
from mnist_flax.data import builders, records
from mnist_flax.data.shards import Examples, verify
from mnist_flax.recognition.resizing import to_image

VERSION = '1.0.0'

# Of a progress bar: it goes when it is done, and only a terminal has one.
BAR: dict[str, Any] = {'leave': False, 'disable': None}


def write(
    root: pathlib.Path,
    name: str,
    splits: Mapping[str, Examples],
    class_names: tuple[str, ...],
    file_format: str,
    description: str,
    framing: Framing,
) -> pathlib.Path:
    """Writes ``<root>/<name>/1.0.0``, which appears only when it is complete.

    Args:
      root: A TFDS directory; it is made if it is missing.
      name: The name of the data set.
      splits: The examples of each split, of the same shape.
      class_names: The names of the classes.
      file_format: One of `records.FORMATS`.
      description: What the data set is, for `tfds` to show.
      framing: How the images were made of pictures, so that a network that is trained on
        them gets others in the same way.

    Returns:
      The folder.

    Raises:
      UserError: A library for this form is not installed.
      OSError: The folder cannot be written, or is there already.
    """
    import tensorflow_datasets as tfds

    (shape,) = {examples.images.shape[1:] for examples in splits.values()}
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=shape, encoding_format='png'),
            'label': tfds.features.ClassLabel(names=class_names),
        }
    )
    target = root / name / VERSION
    # TFDS takes only folders that are named like a version for data.
    folder = target.with_name(f'.{VERSION}.incomplete')
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    make_folder(folder.parent)
    folder.mkdir()
    try:
        features.save_config(folder)
        described = []
        for split, examples in splits.items():
            path = folder / f'{name}-{split}.{file_format}-00000-of-00001'
            num_bytes = records.write(path, file_format, _serialize(split, examples))
            described.append(
                {
                    'name': split,
                    'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
                    'numBytes': str(num_bytes),
                    'shardLengths': [str(len(examples.labels))],
                }
            )
        # Others of the same name have another description then, which runs take note of.
        digests = ', '.join(verify(path, None) for path in sorted(folder.glob(f'{name}-*')))
        info = {
            'name': name,
            'version': VERSION,
            'description': f'{description}. sha256 of the images: {digests}',
            'fileFormat': file_format,
            'splits': described,
            'supervisedKeys': {
                'tuple': {'items': [{'featureKey': 'image'}, {'featureKey': 'label'}]}
            },
        }
        (folder / 'dataset_info.json').write_text(json.dumps(info, indent=2) + '\n')
        (folder / builders.METADATA).write_text(json.dumps({'framing': framing}) + '\n')
        sync_tree(folder)
        folder.rename(target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return target


def _serialize(split: str, examples: Examples) -> Iterator[bytes]:
    from tensorflow_datasets.proto import tf_example_pb2

    bar = tqdm(examples.images, f'writing {split}', unit='', **BAR)
    for image, label in zip(bar, examples.labels, strict=True):
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature['image'].bytes_list.value.append(_to_png(image))
        feature['label'].int64_list.value.append(int(label))
        yield example.SerializeToString(deterministic=True)


def _to_png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    to_image(image).save(buffer, 'png')
    return buffer.getvalue()
