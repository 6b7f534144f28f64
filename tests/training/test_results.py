import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_configs import small

from mnist_flax.models import cnn
from mnist_flax.training import results
from mnist_flax.training.metrics import row_columns
from mnist_flax.training.plan import RunPlan, make_plan
from mnist_flax.training.results import Divergence, RunResult
from mnist_flax.training.trainer import Trainer

LABELS = np.array([0, 1, 1, 0])
ROWS = [dict(zip(row_columns('validation'), (1, 0.5, 0.8, 0.4, 0.9), strict=True))]
MODEL = cnn.create_model((2,), 4, 10, 'xla', 'float32', 0.0, False)


def make_run(seed, probabilities, diverged=None, rows=ROWS):
    logits = np.log(np.array([[1 - p, p] for p in probabilities])).astype(np.float32)
    plan = RunPlan(seed, seed, {}, {'optimizer.learning_rate': 0.1})
    variables = {'params': {'kernel': np.zeros((3, 4))}, 'batch_stats': {'m': np.zeros(9)}}
    where = diverged and Divergence(diverged, 9, 0.1)
    return RunResult(plan, MODEL, rows, logits, variables, 1.5, where)


ALL_RIGHT = (0.2, 0.9, 0.8, 0.4)
HALF_RIGHT = (0.6, 0.9, 0.3, 0.4)


def test_a_run_s_numbers_by_hand():
    numbers = make_run(0, HALF_RIGHT).numbers(LABELS)
    assert tuple(numbers) == results.NUMBERS
    assert numbers['test_accuracy'] == 0.5
    expected = -sum(map(math.log, (0.4, 0.9, 0.3, 0.6))) / 4
    assert numbers['test_loss'] == pytest.approx(expected, rel=1e-5)
    assert (numbers['train_loss'], numbers['validation_accuracy']) == (0.5, 0.9)


def test_losses_stay_exact_where_the_network_is_very_sure():
    logits = np.array([[40.0, 0.0]], np.float32)
    run = make_run(0, (0.5,))
    sure = dataclasses.replace(run, logits=logits)
    assert sure.numbers(np.array([0]))['test_loss'] == pytest.approx(math.exp(-40))
    assert sure.numbers(np.array([1]))['test_loss'] == pytest.approx(40)


def test_parameters_are_counted_without_statistics():
    assert results.count_parameters(make_run(0, ALL_RIGHT)) == 12


def test_a_population_s_spread_intervals_and_ensemble():
    runs = [make_run(0, ALL_RIGHT), make_run(1, HALF_RIGHT)]
    summary = results.summarize_seeds(runs, LABELS)
    accuracy = summary['test_accuracy']
    assert (accuracy['mean'], accuracy['min'], accuracy['max']) == (0.75, 0.5, 1.0)
    assert accuracy['sd'] == pytest.approx(0.5 / math.sqrt(2))
    # 12.706 is the 97.5 % point of Student's t with one degree of freedom.
    interval = pytest.approx((0.75 - 12.706 * 0.25, 0.75 + 12.706 * 0.25), rel=1e-4)
    assert accuracy['mean_95_percent_interval'] == interval
    # Wilson's interval for 3 of 4, by hand.
    z2 = 1.959964**2
    centre, half = (0.75 + z2 / 8), math.sqrt(z2) * math.sqrt(0.75 * 0.25 / 4 + z2 / 64)
    assert summary['test_accuracy_95_percent_interval_of_images'] == (
        pytest.approx((centre - half) / (1 + z2 / 4)),
        pytest.approx((centre + half) / (1 + z2 / 4)),
    )
    # Means of the probabilities: 0.4, 0.9, 0.55, 0.4; all right.
    expected = -sum(map(math.log, (0.6, 0.9, 0.55, 0.6))) / 4
    assert summary['ensemble']['size'] == 2
    assert summary['ensemble']['test_accuracy'] == 1.0
    assert summary['ensemble']['test_loss'] == pytest.approx(expected, rel=1e-5)


def test_what_else_was_measured_is_summed_up_too():
    runs = [
        make_run(seed, ALL_RIGHT, rows=[ROWS[0] | {'train_norm': norm}])
        for seed, norm in ((0, 2.0), (1, 4.0))
    ]
    assert runs[0].numbers(LABELS)['train_norm'] == 2.0
    assert results.summarize_seeds(runs, LABELS)['train_norm']['mean'] == 3.0


def test_a_history_has_an_array_for_each_column():
    later = {'epoch': 2, 'train_loss': 0.25, 'strangers': 0.5}
    history = make_run(0, ALL_RIGHT, rows=[*ROWS, later]).history
    assert list(history) == [*ROWS[0], 'strangers']
    np.testing.assert_array_equal(history['train_loss'], [0.5, 0.25])
    np.testing.assert_array_equal(history['strangers'], [np.nan, 0.5])


def test_a_result_can_be_applied_to_images():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    inputs = jnp.asarray(images / 255.0, jnp.float32)
    variables = MODEL.init(jax.random.key(0), inputs)
    result = dataclasses.replace(make_run(0, ALL_RIGHT), variables=variables)
    assert result.params is variables['params']
    expected = MODEL.apply(variables, inputs)
    np.testing.assert_allclose(result.apply(images), expected, rtol=1e-5, atol=1e-6)


class OfPrecision(nn.Module):
    """Gives another logit where it is computed with another precision than float32."""

    @nn.compact
    def __call__(self, images):
        x = nn.Dense(10)(images.reshape(len(images), -1))
        return x + (jax.config.jax_default_matmul_precision == 'bfloat16')


def test_a_result_is_applied_with_the_precision_of_the_run():
    model = {'constructor': 'test_results.OfPrecision'}
    plan = make_plan(small(num_epochs=1, matmul_precision='bfloat16', model=model))
    ((result,),) = Trainer(plan, show=False).train()
    logits = result.apply(plan.dataset.test.images)
    np.testing.assert_allclose(logits, result.logits, rtol=1e-4, atol=1e-4)


def test_a_diverged_run_is_counted_and_left_out():
    runs = [make_run(0, ALL_RIGHT), make_run(1, HALF_RIGHT, diverged=1)]
    summary = results.summarize_seeds(runs, LABELS)
    assert (summary['num_runs'], summary['num_diverged']) == (2, 1)
    assert summary['test_accuracy'] == {'mean': 1.0, 'min': 1.0, 'max': 1.0}
    assert summary['ensemble']['size'] == 1
    assert all(math.isnan(x) for x in runs[1].numbers(LABELS).values())
    nothing = {'num_runs': 1, 'num_diverged': 1}
    assert results.summarize_seeds(runs[1:], LABELS) == nothing
