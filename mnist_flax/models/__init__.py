"""The network, and convolutions formulated for the backend in use."""

from mnist_flax.models.cnn import CNN, Dropout, create_model, summarize

__all__ = ['CNN', 'Dropout', 'create_model', 'summarize']
