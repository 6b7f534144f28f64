"""From a config to a plan: what is in it, and which fields are refused."""

import pytest
from short_configs import change, short

from mnist_flax.common.errors import UserError
from mnist_flax.training.plan import make_plan


@pytest.fixture(scope='module')
def dataset():
    return make_plan(short()).dataset


def test_the_default_is_one_run_with_nothing_but_a_learning_rate(dataset):
    plan = make_plan(short(), dataset)
    (only,) = plan.runs
    assert only == (0, 0, {}, {'optimizer.learning_rate': 1e-3})
    assert plan.recipe.augment is None
    assert plan.recipe.optimizer.num_steps == 10 * 3


def test_a_population_has_consecutive_seeds(dataset):
    config = short()
    config.update({'seed': 5, 'runs': 3})
    assert [run.seed for run in make_plan(config, dataset).runs] == [5, 6, 7]
    assert [run.seed for run in make_plan(config, dataset, [9, 2]).runs] == [9, 2]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'runs': 10_001}, 'config.runs: found 10001; allowed: 1 to 10000'),
        (
            {'runs': 200, 'sweep.optimizer.learning_rate': tuple(range(1, 52))},
            'config.sweep: found 10200 runs, 51 combinations with 200 seeds; allowed: up',
        ),
        (
            {'model.hidden_size': 10**9},
            'config.model: 1,611,000,018,826 parameters take 24,005.8 GiB with',
        ),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_tried(dataset, changes, message):
    config = short()
    for path, value in changes.items():
        change(config, path, value)
    with pytest.raises(UserError) as info:
        make_plan(config, dataset)
    assert str(info.value).startswith(message)


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('runs', 0, 'config.runs: found 0; allowed: 1 to 10000'),
        ('runs_at_once', -1, 'config.runs_at_once: found -1; allowed: 0 or more'),
        ('seed', 2**32 - 1, None),
        ('loss.label_smoothing', 1.0, 'config.loss.label_smoothing: found 1.0; allowed: 0'),
        ('label_smoothing', 0.1, 'label_smoothing was replaced; use config.loss.label_sm'),
        ('loss.smoothing', 0.1, "config.loss has no field 'smoothing'; its fields are lab"),
        ('ema_decay', -0.5, 'config.ema_decay: found -0.5; allowed: 0 to 0.9999'),
        ('ema_decay', 0.99999, 'config.ema_decay: found 0.99999; allowed: 0 to 0.9999'),
        ('ema_decay', 0.9999, None),
        ('ema_decay', float('nan'), 'config.ema_decay: found nan; allowed: 0 to 0.9999'),
        ('num_epochs', 0, 'config.num_epochs: found 0; allowed: 1 or more'),
        ('batch_size', 301, 'config.batch_size: found 301; allowed: 1 to 300'),
        ('matmul_precision', 'low', "allowed: 'float32', 'tensorfloat32'"),
        ('model.features', (3, 'a'), 'allowed: tuple[int, ...]'),
        ('model.dtype', 'float16', "allowed: 'float32', 'bfloat16'"),
        ('optimizer.constructor', 'adm', "optimizer.constructor: found 'adm' (Attribute"),
        ('optimizer.name', 'adam', 'optimizer.name was replaced; use config.optimizer.con'),
        ('optimizer.rate', 0.1, "config.optimizer has no field 'rate'; its fields are b1,"),
        ('metrics.norm', 3, 'config.metrics.norm: found 3; allowed: a ConfigDict with a c'),
        ('augment.strength', -1.0, 'config.augment.strength: found -1.0; allowed: 0 or'),
        ('augment.rotate', 1.0, "config.augment has no field 'rotate'; its fields are rot"),
        ('augment.constructor', 'nowhere', "config.augment.constructor: found 'nowhere'"),
        ('augment.constructor', 'os.path', "config.augment.constructor: found 'os.path'"),
        ('model.constructor', 3, 'config.model.constructor: found 3'),
        ('model.constructor', 'no.such', "found 'no.such' (ModuleNotFoundError: No "),
        ('model.constructor', 'os.such', "found 'os.such' (AttributeError: module"),
    ],
)
def test_bad_fields_are_named(dataset, path, value, message):
    config = short()
    change(config, path, value)
    if message is None:
        make_plan(config, dataset)
        return
    with pytest.raises(UserError) as caught:
        make_plan(config, dataset)
    assert message in str(caught.value)


def test_seeds_beyond_32_bits_are_refused(dataset):
    config = short()
    config.update({'seed': 2**32 - 2, 'runs': 3})
    with pytest.raises(UserError, match='config.runs: found 3 from seed 4294967294 on'):
        make_plan(config, dataset)


def test_a_model_of_another_shape_is_refused(dataset):
    config = short()
    config.model.num_classes = 7
    with pytest.raises(UserError, match='config.model: the model returns float32.2, 7'):
        make_plan(config, dataset)


def test_planning_compiles_nothing(dataset, forbid_compilation):
    with forbid_compilation():
        make_plan(short(), dataset)
