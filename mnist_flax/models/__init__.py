"""The network, its convolutions for each backend, and how any linen model is called."""

from mnist_flax.models.cnn import CNN, Dropout, create_model, summarize
from mnist_flax.models.layers import Conv, ConvMaxPool, max_pool

__all__ = ['CNN', 'Conv', 'ConvMaxPool', 'Dropout', 'create_model', 'max_pool', 'summarize']
