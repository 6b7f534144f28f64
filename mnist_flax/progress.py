"""What a user sees while a run trains: a live bar on a terminal, a line an epoch."""

import sys

import jax
from tqdm import tqdm

from mnist_flax.metrics import EpochMetrics, Totals


class Progress:
    """Context manager that shows steps, accuracy and time left.

    The bar goes to stderr and only if that is a terminal; the lines go to stdout. Of
    several hosts, one shows them.
    """

    def __init__(self, num_epochs: int, steps_per_epoch: int):
        self._num_epochs = num_epochs
        self._shown = jax.process_index() == 0
        self._bar = tqdm(
            total=num_epochs * steps_per_epoch,
            desc=f'epoch 1/{num_epochs}',
            unit='step',
            disable=not (self._shown and sys.stderr.isatty()),
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *exception) -> None:
        self._bar.close()

    def advance(self, num_steps: int, totals: Totals) -> None:
        """Moves the bar by some training steps and shows the epoch's accuracy so far."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f'accuracy {totals.means()[1]:.4f}', refresh=False)
            self._bar.update(num_steps)

    def report(self, row: EpochMetrics, seconds: float) -> None:
        """Prints the numbers of a finished epoch.

        Args:
          row: The numbers.
          seconds: Its training time.
        """
        if not self._shown:
            return
        epoch = row.epoch
        width = len(str(self._num_epochs))
        with self._bar.external_write_mode(file=sys.stdout):
            print(
                f'epoch {epoch:{width}}/{self._num_epochs}'
                f'  train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}'
                f'  validation loss {row.validation_loss:.4f}'
                f' accuracy {row.validation_accuracy:.4f}  ({seconds:.1f} s)',
                flush=True,
            )
        self._bar.set_description(
            f'epoch {min(epoch + 1, self._num_epochs)}/{self._num_epochs}'
        )
