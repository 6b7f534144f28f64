"""mnist_flax: handwritten digits with JAX, Flax and Optax."""

__version__ = '0.1.0'
