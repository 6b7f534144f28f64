"""What is noted of the runs of a group when an epoch ends."""

import math
from collections.abc import Sequence

from mnist_flax.training import evaluators, population
from mnist_flax.training.evaluators import Evaluator, Measured
from mnist_flax.training.groups import Group
from mnist_flax.training.plan import Plan
from mnist_flax.training.results import Divergence
from mnist_flax.training.snapshots import Snapshot


def note_epoch(
    plan: Plan, group: Group, snapshot: Snapshot, due: Sequence[Evaluator] = ()
) -> list[Measured]:
    """Validates the runs, and notes their numbers and which of them have diverged.

    Args:
      plan: The runs.
      group: Those side by side.
      snapshot: Their state after the epoch; its histories and divergences are extended,
        and the sums of the next epoch started.
      due: The evaluators to call.

    Returns:
      What the evaluators found of each run.
    """
    validated = population.evaluate(
        group.mesh,
        plan.recipe,
        snapshot.state,
        group.arrays.validation_images,
        group.arrays.validation_labels,
    ).by_run()
    measured = evaluators.measure(due, plan, group, snapshot.state, snapshot.step)
    trained = snapshot.totals.by_run()
    snapshot.totals = population.no_totals(group.mesh, plan.recipe, snapshot.state)
    epoch, role = snapshot.step // plan.steps_per_epoch, plan.dataset.validation_role
    # Runs that fill the group up have no history.
    for i in range(len(group.runs)):
        train, validation = trained[i].means(), validated[i].means()
        row = {
            'epoch': epoch,
            'train_loss': train.pop('loss'),
            'train_accuracy': train.pop('accuracy'),
            **{f'{role}_{name}': of for name, of in validation.items()},
            **{f'train_{name}': of for name, of in train.items()},
            **measured[i].numbers,
        }
        snapshot.histories[i].append(row)
        # A step too far shows in the validation loss, if it was the epoch's last.
        losses = row['train_loss'], validation['loss']
        is_finite = all(map(math.isfinite, losses))
        if not is_finite and snapshot.diverged[i] is None:
            # After the first loss that is not finite, none is.
            finite_steps = int(trained[i].finite) // plan.settings.batch_size
            first_step = snapshot.step - plan.steps_per_epoch
            step = min(first_step + finite_steps + 1, snapshot.step)
            rate = learning_rates(plan, group, step - 1)[i]
            snapshot.diverged[i] = Divergence(epoch, step, rate)
    return measured


def learning_rates(plan: Plan, group: Group, step: int) -> list[float]:
    """Finds the learning rate of each run in a step, counted from 0."""
    factor = float(plan.recipe.optimizer.schedule(step))
    return [
        plan.runs[position].hyperparams['optimizer.learning_rate'] * factor
        for position in group.runs
    ]
