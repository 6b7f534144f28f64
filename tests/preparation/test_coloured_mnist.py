"""Coloured MNIST is made as docs/data.md says, and is what it says."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT

from mnist_flax.data import datasets
from mnist_flax.data.builders import Fields


@pytest.mark.slow
def test_its_colours_tell_the_class_otherwise_in_the_test_images(tmp_path, mnist):
    text = (ROOT / 'docs/data.md').read_text()
    (code,) = re.findall(r'`coloured_mnist.py`:\n\n```python\n(.*?)^```', text, re.S | re.M)
    for whole, part in (('.train\n', '.train.slice(0, 12_000)\n'), ('50_000', '10_000')):
        assert code.count(whole) == 1
        code = code.replace(whole, part)  # which takes a fifth of the time
    (tmp_path / 'coloured_mnist.py').write_text(code)
    command = re.search(r'scripts/prepare.py (coloured.*)', text)[1].split(' --class')[0]
    for words in (
        ['coloured_mnist.py'],
        [ROOT / 'scripts/prepare.py', *command.split(), '--class_names=0 to 4,5 to 9'],
    ):
        environment = os.environ | {'PYTHONPATH': str(ROOT)}
        process = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
    assert process.stderr == ''  # a progress bar is for a terminal alone
    fields = Fields('name', 'data_dir', 'split')
    right = {}
    for split, size, in_colour in (('train', 10_000, 0.85), ('test', 2_000, 0.10)):
        read = datasets.load_split('coloured_mnist', str(tmp_path / 'data'), split, fields)
        assert read.class_names == ('0 to 4', '5 to 9')
        images, labels = read.examples
        assert images.shape == (size, 32, 32, 3)
        is_green = images[..., 1].any(axis=(1, 2))
        np.testing.assert_array_equal(is_green, ~images[..., 0].any(axis=(1, 2)))
        assert (is_green == labels).mean() == pytest.approx(in_colour, abs=0.02)
        right |= dict(zip(map(np.ndarray.tobytes, images.max(axis=3)), labels, strict=True))
    # The classes are right for three of four digits.
    digits = mnist.train.slice(0, 12_000)
    padded = np.pad(digits.images[..., 0], ((0, 0), (2, 2), (2, 2)))
    found = np.array([right[image.tobytes()] for image in padded])
    assert (found == (digits.labels >= 5)).mean() == pytest.approx(0.75, abs=0.02)
