"""A network that knows other things than digits, for the tests of pictures."""

from mnist_flax.recognition.networks import PRETRAINED, Networks, load_networks
from mnist_flax.recognition.recognizer import Recognizer

CLOTHES = ('top', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker',
           'bag', 'boot')  # fmt: skip


def load_clothes():
    """The default network, as if its classes were those of Fashion-MNIST."""
    of = load_networks(PRETRAINED.parent / 'default')
    about = {**of.about, 'class_names': CLOTHES, 'dataset': 'fashion_mnist/3.0.1'}
    return Recognizer(Networks(of.workdir, of.model, of.variables, about, 'float32'))
