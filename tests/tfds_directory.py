"""Writes small TFDS data sets, some of them odd, without TensorFlow."""

import io
import json
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mnist_flax.data import records


def write(
    root: pathlib.Path,
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int = 10,
    label_key: str = 'label',
    file_format: str = 'tfrecord',
) -> pathlib.Path:
    """Writes ``<root>/<name>/1.0.0`` with the splits ``train`` and ``test``.

    Both hold all the examples; ``train`` is spread over two files.
    """
    folder = root / name / '1.0.0'
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=images.shape[1:], encoding_format='png'),
            label_key: tfds.features.ClassLabel(num_classes=num_classes),
        }
    )
    features.save_config(folder)
    splits = []
    for split, num_shards in (('train', 2), ('test', 1)):
        shards = np.array_split(np.arange(len(labels)), num_shards)
        for number, shard in enumerate(shards):
            path = folder / f'{name}-{split}.{file_format}-{number:05}-of-{num_shards:05}'
            examples = (
                {'image': _png(images[i]), label_key: int(labels[i])} for i in shard
            )
            contents = map(features.serialize_example, examples)
            records.write(path, file_format, contents)
        splits.append(
            {
                'name': split,
                'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
                'numBytes': '1',
                'shardLengths': [str(len(shard)) for shard in shards],
            }
        )
    description = {
        'name': name,
        'version': '1.0.0',
        'fileFormat': file_format,
        'splits': splits,
    }
    (folder / 'dataset_info.json').write_text(json.dumps(description))
    return folder


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, 'png')
    return buffer.getvalue()
