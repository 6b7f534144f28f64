"""A mistake in a part of a researcher's own is one line that names its file and line."""

import re

import pytest
from small_configs import part, small, sweep_of

from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate

# Beside each part that is wrong, what the line about it says.
MISTAKES = {
    'a loss of one number': (
        {'loss': part('one_number')},
        r'config.loss: one_number \(tests/.*.py, line \d+\) returns float32\[\] for 2',
    ),
    'a loss that is not finite': (
        {'loss': part('not_finite')},
        r'config.loss: not_finite \(tests/.*, line \d+\) or its gradient is not finite',
    ),
    'a loss that fails': (
        {'loss': part('failing')},
        r'config.loss: .*tests/research_parts.py, line \d+: RuntimeError: no luck',
    ),
    'a loss without labels': ({'loss': part('of_one')}, 'config.loss: .* of_one'),
    'a loss that is not traceable': (
        {'loss': part('not_traceable')},
        r'config.loss: .*research_parts.py, line \d+: TracerArrayConversionError',
    ),
    'a missing number': ({'loss': part('power')}, 'config.loss.exponent is missing'),
    'an unknown number': (
        {'loss': part('power', exponent=1.0, base=2)},
        "config.loss has no field 'base'; its fields are exponent",
    ),
    'an optimizer that is none': (
        {'optimizer': part('no_optimizer', learning_rate=0.1)},
        'config.optimizer: .*AttributeError',
    ),
    'a schedule of pairs': (
        {'schedule': part('pairs')},
        r'config.schedule: the schedule of pairs \(tests/.*, line \d+\) must give one',
    ),
    'a schedule that branches': (
        {'schedule': part('branching_schedule')},
        r'config.schedule: .*research_parts.py, line \d+: TracerBoolConversionError',
    ),
    'a metric of many numbers': (
        {'metrics': {'all': part('all_logits')}},
        r'config.metrics.all: all_logits \(.*\) returns float32\[2, 10\]; it must',
    ),
    'an evaluator that is no function': (
        {'evaluators': {'bad': part('no_function')}},
        'config.evaluators.bad: no_function .* returns 3; it must return a function',
    ),
    'an evaluator that fails': (
        {'evaluators': {'bad': part('failing_later')}},
        r'config.evaluators.bad: .*research_parts.py, line \d+: ValueError: the images',
    ),
    'an evaluator of text': (
        {'evaluators': {'bad': part('of_text')}},
        "config.evaluators.bad: .* returns 'high' for 'value'; it must return numbers",
    ),
    'an evaluator twice as often': (
        {'evaluators': {'bad': part('of_text', every_epochs=1, every_steps=5)}},
        'config.evaluators.bad: it has both every_epochs and every_steps',
    ),
    'a writer that fails': (
        {'writers': {'bad': part('Failing')}},
        r'config.writers.bad: .*research_parts.py, line \d+: ConnectionError: no network',
    ),
    'an evaluator without its outer function': (
        {'evaluators': {'bad': part('of_predict')}},
        r'config.evaluators.bad: of_predict \(.*, line \d+\) takes predict itself; it must',
    ),
    'evaluators with other numbers for other runs': (
        {'evaluators': {'bad': part('named_by_seed')}, 'runs': 2, 'runs_at_once': 1},
        r"config.evaluators: one run has \[.*'bad_0'\], another one \[.*'bad_1'",
    ),
    'a metric that asks for what there is not': (
        {'metrics': {'bad': part('of_input')}},
        r'config.metrics.bad.inputs is missing; .* \(given without the config: logits, aux',
    ),
    'a writer that does not exist': (
        {'writers': {'bad': part('NoSuchWriter')}},
        "config.writers.bad.constructor: found 'research_parts.NoSuchWriter'",
    ),
    'an optimizer that is tested elsewhere': (
        {'optimizer': {'constructor': 'optax.contrib.schedule_free_sgd',
                       'learning_rate': 0.1}},
        "config.optimizer.constructor: 'optax.contrib.schedule_free_sgd' needs other param",
    ),
    'an evaluator of images that are not there': (
        {'evaluators': {'seen': {'constructor': 'split', 'name': 'letters'}}},
        "config.evaluators.seen.name: 'letters' is not in ",
    ),
    'an evaluator whose name is taken': (
        {'evaluators': {'test': part('accuracy_of_nothing')}},
        "config.evaluators.test: 'test_accuracy' is taken, as are all names that ",
    ),
    'two evaluators with a number of one name': (
        {'evaluators': {'own': part('accuracy_of_nothing'),
                        'own_accuracy': part('half')}},
        "config.evaluators.own_accuracy: 'own_accuracy' is taken, ",
    ),
    'a metric whose name is taken': (
        {'metrics': {'loss': part('logit_size')}},
        'config.metrics.loss: there is a train_loss already; choose another name',
    ),
    'a metric that would be the seconds of training': (
        {'metrics': {'seconds': part('logit_size')}},
        'config.metrics.seconds: there is a train_seconds already; choose another name',
    ),
    'a writer that cannot be closed': (
        {'writers': {'bad': part('NoClose')}},
        'config.writers.bad: what research_parts.NoClose makes has no method close',
    ),
    'a sweep of a part of what is swept': (
        {'sweep': part('overlapping')},
        'config.sweep.schedule.final: config.sweep.schedule is swept too',
    ),
    'a sweep that is no list': (
        {'sweep': part('no_points')},
        'config.sweep.constructor: research_parts.no_points must return a list',
    ),
    'a sweep of an unknown field': (
        {'sweep': {'optimiser': {'learning_rate': (1e-3, 1e-2)}}},
        'config.sweep.optimiser.learning_rate: this config has no field config.optimiser',
    ),
    'a sweep of the seed': (
        {'sweep': {'seed': (1, 2)}},
        'config.sweep.seed: this field must be the same for all runs',
    ),
    'a sweep of an evaluator': (
        {'evaluators': {'own': part('first_images', count=5)},
         'sweep': {'evaluators': {'own': {'count': (5, 10)}}}},
        'config.sweep.evaluators.own.count: this field must be the same for all runs',
    ),
    'a sweep of a value twice': (
        {'sweep': {'augment': {'shift': (0, 0.0)}}},
        r'config.sweep.augment.shift: \(0, 0.0\) has a value twice',
    ),
    'a sweep of one value': (
        {'sweep': {'optimizer': {'learning_rate': 1e-3}}},
        'config.sweep.optimizer.learning_rate: found 0.001; allowed: a tuple of values',
    ),
}  # fmt: skip


@pytest.mark.parametrize(('parts', 'message'), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_says_where(tmp_path, parts, message):
    config = sweep_of(**parts) if 'sweep' in parts else small(**parts)
    with pytest.raises(UserError) as info:
        train_and_evaluate(config, str(tmp_path))
    assert re.match(message, str(info.value)), info.value
    assert str(info.value).isprintable()
