"""Writers of metrics while runs train, for `config.writers`; each gets every record."""

from mnist_flax.writers.event_files import tensorboard as tensorboard
