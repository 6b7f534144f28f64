"""Other people's digits, as pictures."""

import re

import numpy as np
import pytest
from repository import ROOT
from sklearn import datasets

from mnist_flax.evaluation import strangers
from mnist_flax.reading import reader
from mnist_flax.reading.reader import Reader
from mnist_flax.recognition import pictures
from mnist_flax.recognition.networks import Networks
from mnist_flax.recognition.recognizer import Recognizer


@pytest.fixture(scope='module')
def digits():
    return datasets.load_digits()


def test_pictures_vary_and_are_the_same_again(digits):
    drawn, again = (
        [strangers.draw(image, i) for i, image in enumerate(digits.images[:60])]
        for _ in range(2)
    )
    assert drawn == again
    shapes = {pictures.read(content, 'it').shape for content in drawn}
    assert len(shapes) > 30
    assert min(shapes)[0] < 20
    assert max(shapes)[0] >= 900


@pytest.mark.slow
def test_the_networks_of_the_package_recognise_most(digits):
    """As docs/handwriting.md says, of some of them; the slow test takes all."""
    images, labels = digits.images[::36], digits.target[::36]
    table = strangers.measure(reader.load(), images, labels)
    assert float(table.splitlines()[2].split('|')[2]) >= 95
    alone = re.search(r'^Each of the 4 networks by itself recognises (\S+) ± ', table, re.M)
    assert float(alone[1]) >= 94


def test_a_network_that_knows_nothing_is_measured_so(digits):
    class Guess(Networks):
        num_networks, class_names = 1, tuple('0123456789')
        image_shape, about = (28, 28, 1), {'dataset': 'mnist/3.0.1'}

        def __init__(self):
            pass

        def probabilities(self, images):
            return np.eye(10)[np.zeros(len(images), int)]

    labels = digits.target[:20]
    guessing = Reader(Recognizer(Guess()), single=True)
    table = strangers.measure(guessing, digits.images[:20], labels)
    assert f'| all | {(labels == 0).mean():.1%}'.rstrip('%') in table
    assert '| 20 |' in table.splitlines()[2]
    assert 'by itself' not in table


@pytest.mark.slow
def test_the_docs_say_what_it_prints(digits):
    docs = ' '.join((ROOT / 'docs/handwriting.md').read_text().split())
    for line in strangers.measure(reader.load(), digits.images, digits.target).splitlines():
        assert line in docs
