"""What a user sees while a run trains: a live bar on a terminal, a line an epoch."""

import sys
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from mnist_flax.training.metrics import Row, Totals
from mnist_flax.training.plan import RunPlan
from mnist_flax.training.results import Divergence


class TimeLeft:
    """Estimates when all runs of a config are done, from those of this process.

    Args:
      num_runs: Runs of the config.
      num_own: Of these the ones that this process will train; None for all.
    """

    def __init__(self, num_runs: int, num_own: float | None = None):
        self.num_runs = num_runs
        self._num_own = num_runs if num_own is None else num_own
        self._num_done = 0
        self._num_timed = 0.0  # a run that was resumed counts by its part
        self._seconds = 0.0

    def add(self, num_runs: int, part: float, seconds: float) -> None:
        """Notes that runs are done, of which this process has trained a part."""
        self._num_done += num_runs
        self._num_timed += num_runs * part
        self._seconds += seconds if part else 0.0

    def __str__(self) -> str:
        """Says it, once it is known."""
        if not self._num_timed:
            return ''
        num_left = max(0.0, self._num_own - self._num_done)
        seconds = self._seconds / self._num_timed * num_left
        return f'; about {seconds / 60:.0f} min left for all'


class Progress:
    """Context manager that shows steps, accuracy and time left.

    The bar goes to stderr and only if that is a terminal; the lines go to stdout. Of
    several hosts, one shows them.
    """

    def __init__(
        self,
        time_left: TimeLeft,
        num_groups: int,
        num_epochs: int,
        steps_per_epoch: int,
        validation: str,
        shown: bool = True,
    ):
        self._num_runs = time_left.num_runs
        self._time_left = time_left
        self._num_epochs = num_epochs
        self._steps_per_epoch = steps_per_epoch
        self._validation = validation  # what to call the images of each epoch's end
        self._shown = shown and jax.process_index() == 0
        self._bar = tqdm(
            total=num_groups * num_epochs * steps_per_epoch,
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

    def start(self, runs: Sequence[RunPlan]) -> None:
        """Announces the next runs side by side."""
        first, last = runs[0].position + 1, runs[-1].position + 1
        if self._num_runs > 1:
            seeds = [run.seed for run in runs]
            which, what = f'run {first}', 'seed'
            if len(runs) > 1:
                which, what = f'runs {first} to {last}', 'seeds'
            listed = [str(seed) for seed in dict.fromkeys(seeds)]
            if len(listed) > 8:
                listed = [*listed[:4], '...', listed[-1]]
            runs_of_all = f'{which} of {self._num_runs}: {what} {", ".join(listed)}'
            self._print(f'{runs_of_all}{self._time_left}')

    def skip(self, step: int) -> None:
        """Announces that the runs are resumed after so many steps, if there are any."""
        if not step:
            return
        epoch, rest = divmod(step, self._steps_per_epoch)
        done = f'{epoch} of {self._num_epochs} epochs'
        if rest:
            done += f' and {rest} of the next {self._steps_per_epoch} steps'
        done += ' were done before'
        if epoch == self._num_epochs:  # also told to who has added an evaluator or a writer
            done += (
                '; nothing is trained or measured again '
                '(config.checkpoint.resume=false starts a new run)'
            )
        self._print(f'resumed: {done}')
        if not self._bar.disable:
            # Not by `update`, which would take them for fast ones.
            self._bar.initial += step
            self._bar.n += step

    def advance(self, num_steps: int, totals: Totals) -> None:
        """Moves the bar by some training steps and shows the epoch's accuracy so far."""
        if not self._bar.disable:
            if jax.process_count() > 1:  # the others would have to take part in the sum
                self._bar.update(num_steps)
                return
            accuracy = totals.correct.sum() / totals.examples.sum()
            self._bar.set_postfix_str(f'accuracy {accuracy:.4f}', refresh=False)
            self._bar.update(num_steps)

    def report(
        self,
        epoch: int,
        histories: Sequence[Sequence[Row]],
        diverged: Sequence[Divergence | None],
        seconds: float,
    ) -> None:
        """Prints the numbers of a finished epoch.

        Args:
          epoch: Its number, from 1.
          histories: The numbers of each epoch of each run; of several runs the mean is
            shown.
          diverged: Of each run, where it has diverged; those that have are only counted.
          seconds: The training time of the epoch.
        """
        more = ''
        line = f'epoch {epoch:{len(str(self._num_epochs))}}/{self._num_epochs}'
        rows = [of[-1] for of, at in zip(histories, diverged, strict=True) if at is None]
        if len(rows) > 1:
            line += f'  mean of {len(rows)}'
        if rows:
            mean = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
            _, train_loss, train_accuracy, loss, accuracy, *others = mean.values()
            line += (
                f'  train loss {train_loss:.4f} accuracy {train_accuracy:.4f}'
                f'  {self._validation} loss {loss:.4f} accuracy {accuracy:.4f}'
            )
            named = zip([*mean][5:], others, strict=True)
            more = ''.join(f'  {name} {value:.4g}' for name, value in named)
        if len(rows) < len(histories):
            line += f'  {len(histories) - len(rows)} diverged'
        self._print(f'{line}  ({seconds:.1f} s)' + (f'\n  {more}' if more else ''))
        following = epoch % self._num_epochs + 1
        self._bar.set_description(f'epoch {following}/{self._num_epochs}')

    def _print(self, line: str) -> None:
        if self._shown:
            with self._bar.external_write_mode(file=sys.stdout):
                print(line, flush=True)
