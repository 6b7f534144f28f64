"""Other people's digits, as pictures."""

import re

import numpy as np
import pytest
from conftest import ROOT
from sklearn import datasets

from mnist_flax.evaluation.evaluation import strangers
from mnist_flax.recognition import pictures, recognizer


@pytest.fixture(scope='module')
def digits():
    return datasets.load_digits()


def test_pictures_vary_and_are_the_same_again(digits):
    drawn = [strangers.draw(image, i) for i, image in enumerate(digits.images[:60])]
    assert drawn == [strangers.draw(image, i) for i, image in enumerate(digits.images[:60])]
    assert {picture.side for picture in drawn} == {8, 16, 32, 100, 300, 900}
    shapes = {pictures.read(picture.content, 'it').shape for picture in drawn}
    assert len(shapes) > 30


def test_the_network_for_strangers_knows_most_of_their_digits(digits):
    """As README.md says, on some of them; the slow test takes all."""
    images, labels = digits.images[::36], digits.target[::36]
    table = strangers.measure(recognizer.load(), images, labels)
    assert float(table.splitlines()[2].split('|')[2]) >= 95
    alone = re.search(r'^Each of the 4 networks by itself recognises (\S+) ± ', table, re.M)
    assert float(alone[1]) >= 94


def test_a_network_that_knows_nothing_is_measured_so(digits):
    class Guess(recognizer.Recognizer):
        def __init__(self):
            self.num_networks = 1

        def probabilities(self, images):
            return np.eye(10)[np.zeros(len(images), int)]

    labels = digits.target[:20]
    table = strangers.measure(Guess(), digits.images[:20], labels)
    assert f'| all | {(labels == 0).mean():.1%}'.rstrip('%') in table
    assert '| 20 |' in table.splitlines()[2]
    assert 'by itself' not in table


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arguments', 'lines'),
    [
        ((), slice(None)),
        (('--workdir=mnist_flax/pretrained/default',), slice(3)),  # the row of all
    ],
)
def test_the_readme_says_what_comes_out(command, arguments, lines):
    process = command('scripts/strangers.py', *arguments, timeout=1000)
    assert process.returncode == 0, process.stderr
    readme = (ROOT / 'README.md').read_text().splitlines()
    for line in process.stdout.splitlines()[lines]:
        assert line in readme
