"""mnist_flax: handwritten digits with JAX, Flax and Optax."""

from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'

if TYPE_CHECKING:
    from mnist_flax.common.configs import load_config
    from mnist_flax.train import train_and_evaluate

__all__ = ['load_config', 'train_and_evaluate']


def __getattr__(name: str) -> Any:
    # Imported when they are used, so that the package alone needs no JAX.
    if name == 'load_config':
        from mnist_flax.common.configs import load_config

        return load_config
    if name == 'train_and_evaluate':
        from mnist_flax.train import train_and_evaluate

        return train_and_evaluate
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
