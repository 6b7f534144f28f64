"""The same 40 pictures in each form that people have them in."""

import csv
import gzip
import io
import pathlib
import struct

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 12, 10), np.uint8)
LABELS = np.arange(40) % 4
TRAIN, TEST = slice(0, 30), slice(30, 40)


def to_idx(array):
    header = struct.pack(f'>BBBB{array.ndim}I', 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def to_png(image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'png', **options)
    return buffer.getvalue()


def write_pictures(folder, images, labels, suffix='.png'):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / 'more' / f'{i}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def folder(root):
    write_pictures(root / 'train', IMAGES[TRAIN], LABELS[TRAIN])
    write_pictures(root / 'test', IMAGES[TEST], LABELS[TEST])
    (root / '.hidden').mkdir()
    (root / 'train/0/notes.txt').write_text('not a picture')
    return root


def idx(root):
    (root / 'train-images-idx3-ubyte.gz').write_bytes(gzip.compress(to_idx(IMAGES[TRAIN])))
    (root / 'train-labels-idx1-ubyte.gz').write_bytes(gzip.compress(to_idx(LABELS[TRAIN])))
    (root / 't10k-images.idx3-ubyte').write_bytes(to_idx(IMAGES[TEST]))
    (root / 't10k-labels.idx1-ubyte').write_bytes(to_idx(LABELS[TEST]))
    return root


def emnist(root):
    for split, part in (('train', TRAIN), ('test', TEST)):
        images, labels = IMAGES[part].swapaxes(1, 2), LABELS[part]
        for name, content in (('images-idx3', images), ('labels-idx1', labels)):
            path = root / f'emnist-own-{split}-{name}-ubyte.gz'
            path.write_bytes(gzip.compress(to_idx(content)))
    return root


def keras(root):
    path = root / 'mnist.npz'
    np.savez(
        path,
        x_train=IMAGES[TRAIN],
        y_train=LABELS[TRAIN, None],
        x_test=IMAGES[TEST, ..., None],
        y_test=LABELS[TEST].astype(float),
    )
    return path


def medical(root):
    path = root / 'cells.npz'
    arrays = {
        f'{split}_{kind}': of[part]
        for split, part in (('train', TRAIN), ('test', TEST))
        for kind, of in (('images', IMAGES), ('labels', LABELS))
    }
    np.savez_compressed(path, **arrays)
    return path


def table(root):
    """In one piece."""
    path = root / 'digits.csv'
    with path.open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['p0', 'label', *(f'p{i}' for i in range(1, 120))])
        for image, label in zip(IMAGES, LABELS, strict=True):
            pixels = image.ravel().tolist()
            rows.writerow([pixels[0], label, *pixels[1:]])
    return path


def hugging_face(root):
    (root / 'data').mkdir()
    for split, part in (('train', TRAIN), ('test', TEST)):
        images = [{'bytes': to_png(image), 'path': None} for image in IMAGES[part]]
        table = pyarrow.table({'image': images, 'label': LABELS[part]})
        about = '{"info": {"features": {"label": {"names": ["0", "1", "2", "3"]}}}}'
        table = table.replace_schema_metadata({'huggingface': about})
        parquet.write_table(table, root / f'data/{split}-00000-of-00001.parquet')
    return root


def write(function, root: pathlib.Path) -> pathlib.Path:
    root.mkdir()
    return function(root)
