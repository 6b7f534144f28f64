"""What is noted of the runs of a group when an epoch ends."""

import math

from mnist_flax.training import population
from mnist_flax.training.groups import Group
from mnist_flax.training.metrics import EpochMetrics
from mnist_flax.training.plan import Plan
from mnist_flax.training.results import Divergence
from mnist_flax.training.snapshots import Snapshot


def note_epoch(plan: Plan, group: Group, snapshot: Snapshot, steps_per_epoch: int) -> None:
    """Validates the runs, and notes their numbers and which of them have diverged.

    Args:
      plan: The runs.
      group: Those side by side.
      snapshot: Their state after the epoch; its histories and divergences are extended,
        and the sums of the next epoch started.
      steps_per_epoch: Steps of an epoch.
    """
    validated = population.evaluate(
        group.mesh,
        plan.recipe,
        snapshot.state,
        group.arrays.validation_images,
        group.arrays.validation_labels,
    ).by_run()
    trained = snapshot.totals.by_run()
    snapshot.totals = population.no_totals(group.mesh, snapshot.state)
    epoch = snapshot.step // steps_per_epoch
    # Runs that fill the group up have no history.
    for i, position in enumerate(group.runs):
        row = EpochMetrics(epoch, *trained[i].means(), *validated[i].means())
        snapshot.histories[i].append(row)
        # A step too far shows in the validation loss, if it was the epoch's last.
        is_finite = math.isfinite(row.train_loss) and math.isfinite(row.validation_loss)
        if not is_finite and snapshot.diverged[i] is None:
            # After the first loss that is not finite, none is.
            finite_steps = int(trained[i].finite) // plan.settings.batch_size
            first_step = snapshot.step - steps_per_epoch
            step = min(first_step + finite_steps + 1, snapshot.step)
            peak = plan.runs[position].hyperparams['learning_rate']
            schedule = plan.recipe.optimizer.normalized_schedule()
            rate = peak * float(schedule(step - 1))
            snapshot.diverged[i] = Divergence(epoch, step, rate)
