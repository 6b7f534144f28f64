"""The network, its convolutions for each backend, and how any linen model is called."""

from mnist_flax.models.cnn import CNN, Dropout, create_model, summarize

__all__ = ['CNN', 'Dropout', 'create_model', 'summarize']
