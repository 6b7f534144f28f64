"""Parts of a recipe that a researcher names: they work together, and mistakes are told."""

import csv
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from repository import ROOT

from configs import default
from mnist_flax.checkpointing import checkpoints
from mnist_flax.common.errors import UserError
from mnist_flax.train import train_and_evaluate
from mnist_flax.training.plan import make_plan, make_plans


def small(**parts):
    """A config that trains in a second, with some parts of `research_parts`."""
    config = default.get_config()
    config.num_epochs = 2
    config.num_devices = 1
    config.runs_at_once = 4
    config.batch_size = 50
    config.dataset.update({'train_split': 'train[:300]', 'test_split': 'test[:100]'})
    config.model = {'constructor': 'research_parts.Small'}
    for name, part in parts.items():
        config[name] = ConfigDict(part) if isinstance(part, dict) else part
    return config


def part(name, **fields):
    return {'constructor': f'research_parts.{name}', **fields}


SGD = part('momentum', learning_rate=0.05, decay=0.9)

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
        r'config.evaluators.bad: .*research_parts.py, line \d+: ValueError: predict takes',
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
    'an evaluator whose name is taken': (
        {'evaluators': {'test': part('accuracy_of_nothing')}},
        "config.evaluators.test: there is a number 'test_accuracy' already; choose",
    ),
    'a metric whose name is taken': (
        {'metrics': {'loss': part('logit_size')}},
        'config.metrics.loss: there is a train_loss already; choose another name',
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
    'a sweep of one value': (
        {'sweep': {'optimizer': {'learning_rate': 1e-3}}},
        'config.sweep.optimizer.learning_rate: found 0.001; allowed: a tuple of values',
    ),
}


@pytest.mark.parametrize(('parts', 'message'), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_says_where(tmp_path, parts, message):
    config = small(**parts)
    if config.sweep:
        config.dataset.validation = 'holdout'
        config.dataset.holdout_size = 100
    with pytest.raises(UserError) as info:
        train_and_evaluate(config, str(tmp_path))
    assert re.match(message, str(info.value)), info.value
    assert str(info.value).isprintable()


def test_a_sweep_that_would_choose_on_the_test_set_is_refused():
    sweep = {'optimizer': {'learning_rate': (1e-3, 1e-2)}}
    with pytest.raises(UserError, match=r'add --config\.dataset\.validation=holdout'):
        make_plans(small(sweep=sweep))


def read_lines(workdir):
    records = [json.loads(line) for line in (workdir / 'metrics.jsonl').open()]
    for record in records:
        record.pop('images_per_second', None)  # which is never the same
    return records


def test_parts_of_a_researcher_s_own_work_together_and_resume(tmp_path):
    config = small(
        loss=part('power', exponent=0.5),
        optimizer=SGD,
        schedule={'constructor': 'constant'},
        metrics={'size': part('logit_size')},
        evaluators={'first': part('first_images', count=50, every_steps=4)},
        writers={'own': part('Collect')},
        log_every_steps=5,
        runs=3,
    )
    whole = train_and_evaluate(config, str(tmp_path / 'whole'))
    assert {run.plan.seed for run in whole.runs} == {0, 1, 2}
    for run in whole.runs:
        assert run.history['train_size'][1] > run.history['train_size'][0] > 0
        assert run.history['train_objective'][1] < run.history['train_objective'][0]
        assert np.isnan(run.history['first_error'][0])  # due at steps 4 and 8 of 12
        wrong = run.logits[:50].argmax(-1) != run_labels(config)[:50]
        assert run.history['first_error'][1] == wrong.mean()
        assert run.history['first_seed'][1] == run.plan.seed
    records = read_lines(tmp_path / 'whole')
    steps = {
        event: sorted({of['step'] for of in records if of['event'] == event})
        for event in ('step', 'epoch')
    }
    assert steps == {'step': [4, 5, 8, 11], 'epoch': [6, 12]}
    logged = [of for of in records if 'gradient_norm' in of]
    assert {of['step'] for of in logged} == {5, 11}
    assert len(logged) == 2 * 3
    assert {of['learning_rate'] for of in logged} == {0.05}
    assert all(of['gradient_norm'] > 0 for of in logged)
    collected = (tmp_path / 'whole/collected.txt').read_text().splitlines()
    assert collected.count('from 0') == 1
    assert len(collected) == 1 + len(records)
    # A run that has ended after an epoch continues, and its lines do.
    config.num_epochs = 1
    train_and_evaluate(config, str(tmp_path / 'half'))
    config.num_epochs = 2
    resumed = train_and_evaluate(config, str(tmp_path / 'half'))
    for ours, theirs in zip(resumed.runs, whole.runs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours.variables, theirs.variables)
    last = [of for of in read_lines(tmp_path / 'half') if of['step'] > 6]
    assert last == [of for of in records if of['step'] > 6]


def run_labels(config):
    return make_plan(config).dataset.test.labels


def test_what_a_crash_has_left_after_the_checkpoint_is_written_anew(tmp_path):
    config = small(log_every_steps=2, checkpoint=default.get_config().checkpoint)
    config.schedule = {'constructor': 'constant'}
    config.num_epochs = 1
    train_and_evaluate(config, str(tmp_path))
    lines = (tmp_path / 'metrics.jsonl').read_text()
    later = lines.splitlines()[0].replace('"step": 2', '"step": 8')
    (tmp_path / 'metrics.jsonl').write_text(f'{lines}{later}\n{later[:30]}')
    config.num_epochs = 2
    train_and_evaluate(config, str(tmp_path))
    records = read_lines(tmp_path)
    assert [of['step'] for of in records if of['event'] == 'step'] == [2, 4, 6, 8, 10, 12]
    assert (tmp_path / 'metrics.jsonl').read_text().startswith(lines)


def test_the_second_output_of_a_model_counts_in_the_loss():
    heads = {'constructor': 'research_parts.TwoHeads'}
    config = small(model=heads, loss=part('of_both_heads', weight=0.0))
    start = train_and_evaluate(config).runs[0].params['Dense_2']['kernel']
    config.loss.weight = 1.0
    learned = train_and_evaluate(config).runs[0].params['Dense_2']['kernel']
    # Of the second head, which no prediction depends on.
    assert np.abs(learned - start).max() > 1e-3


def sweep_of(**fields):
    config = small(**fields)
    config.dataset.validation = 'holdout'
    config.dataset.holdout_size = 100
    return config


@pytest.mark.parametrize(
    ('loss', 'optimizer', 'sweep', 'num_programs'),
    [
        (part('power', exponent=1.0), SGD, {'loss': {'exponent': (0.5, 1)}}, 1),
        (part('branching', exponent=1.0), SGD, {'loss': {'exponent': (0.5, 1.0)}}, 2),
        (part('power', exponent=1.0), SGD, {'optimizer': {'decay': (0.0, 0.9)}}, 1),
        (
            part('power', exponent=1.0),
            part('fixed', learning_rate=0.1, decay=0.5),
            {'optimizer': {'decay': (0.0, 0.9)}},
            2,
        ),
        (
            part('power', exponent=1.0),
            SGD,
            {'optimizer': {'learning_rate': (0.1, 0.2)}, 'model': {'width': (4, 8, 16)}},
            3,
        ),
        (part('power', exponent=1.0), SGD, part('two_points'), 2),
        (part('power', exponent=1.0), SGD, part('of_numpy'), 1),
    ],
)
def test_a_sweep_makes_a_program_only_for_what_is_compiled_in(
    loss, optimizer, sweep, num_programs
):
    plans = make_plans(sweep_of(loss=loss, optimizer=optimizer, sweep=sweep, runs=2))
    assert len(plans) == num_programs
    positions = [run.position for plan in plans for run in plan.runs]
    assert positions == list(range(len(positions)))


def test_a_rate_that_one_of_two_models_keeps_for_itself_acts_in_both():
    model = part('Dropping', dropout_rate=0.5)
    names = tuple(f'research_parts.{name}' for name in ('Dropping', 'Keeping'))
    sweep = {'model': {'constructor': names, 'dropout_rate': (0.0, 0.9)}}
    plans = make_plans(sweep_of(model=model, sweep=sweep))
    found = [[run.swept['model.dropout_rate'] for run in plan.runs] for plan in plans]
    assert found == [[0.0, 0.9], [0.0], [0.9]]
    assert [plan.recipe.model.dropout_rate for plan in plans[1:]] == [0.0, 0.9]


def test_epochs_of_another_length_are_another_program():
    schedule = {'constructor': 'step', 'every': 1}
    config = small(schedule=schedule)
    other = small(schedule=schedule, num_epochs=4)
    other.dataset.train_split = 'train[:150]'
    one, two = make_plan(config).recipe, make_plan(other).recipe
    assert one.optimizer.num_steps == two.optimizer.num_steps
    assert one != two


def test_numbers_of_a_sweep_act_as_they_do_alone():
    """Those that share a program as well as those that do not."""
    sweep = {'optimizer': {'decay': (0.0, 0.9)}, 'model': {'width': (4, 8)}}
    loss = part('power', exponent=1.0)
    config = sweep_of(loss=loss, optimizer=SGD, sweep=sweep)
    swept = train_and_evaluate(config).runs
    assert len(swept) == 4
    for run in swept:
        alone = sweep_of(loss=loss, optimizer=SGD)
        alone.optimizer.decay = run.plan.swept['optimizer.decay']
        alone.model.width = run.plan.swept['model.width']
        (only,) = train_and_evaluate(alone).runs
        np.testing.assert_allclose(run.logits, only.logits, rtol=1e-4, atol=1e-5)


def test_a_sweep_shows_test_scores_of_its_choice_alone(tmp_path):
    sweep = {'optimizer': {'learning_rate': (1e-6, 1e-1)}, 'model': {'width': (8, 16)}}
    config = sweep_of(sweep=sweep, runs=3)
    train_and_evaluate(config, str(tmp_path))
    numbers = json.loads((tmp_path / 'metrics.json').read_text())
    chosen = numbers['chosen']['values']
    assert chosen['optimizer.learning_rate'] == 0.1
    assert [point['verdict'] for point in numbers['points']].count('best') == 1
    assert not any('test' in name for point in numbers['points'] for name in point)
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3
    for row in rows:
        is_chosen = all(row[name] == str(value) for name, value in chosen.items())
        assert bool(row['test_accuracy']) == is_chosen
    assert len((tmp_path / 'metrics.txt').read_text().splitlines()) < 45
    assert (tmp_path / 'sweep.png').exists()


def test_an_interrupted_sweep_continues_with_the_programs_that_are_left(tmp_path):
    config = sweep_of(sweep={'model': {'width': (4, 8)}}, runs=2)
    expected = train_and_evaluate(config, str(tmp_path / 'whole')).runs
    train_and_evaluate(config, str(tmp_path / 'part'))
    for path in (tmp_path / 'part/checkpoints').glob('runs_[2-3]-*'):
        path.rename(tmp_path / path.name)
    runs = train_and_evaluate(config, str(tmp_path / 'part')).runs
    for ours, theirs in zip(runs, expected, strict=True):
        np.testing.assert_array_equal(ours.logits, theirs.logits)


def test_the_library_can_be_called_twice_and_writes_nothing(tmp_path, monkeypatch):
    import mnist_flax

    monkeypatch.chdir(tmp_path)
    config = small()
    first, second = (mnist_flax.train_and_evaluate(config) for _ in range(2))
    (run,), (again,) = first.runs, second.runs
    np.testing.assert_array_equal(run.logits, again.logits)
    images = make_plan(config).dataset.test.images
    np.testing.assert_allclose(run.apply(images), run.logits, rtol=1e-4, atol=1e-5)
    accuracy = run.history['test_accuracy']
    assert accuracy.shape == (2,)
    assert accuracy[-1] == pytest.approx(first.metrics['test_accuracy'])
    assert list(tmp_path.iterdir()) == []
    assert mnist_flax.load_config('configs/fast.py').num_epochs == 2


def test_a_run_that_is_resumed_can_be_watched_more_closely(tmp_path):
    config = small(schedule={'constructor': 'constant'})
    config.num_epochs = 1
    train_and_evaluate(config, str(tmp_path))
    config.num_epochs = 2
    config.log_every_steps = 3
    config.metrics = {'size': part('logit_size')}
    config.evaluators = {'first': part('first_images', count=10)}
    (run,) = train_and_evaluate(config, str(tmp_path)).runs
    assert np.isnan(run.history['train_size'][0])
    assert run.history['train_size'][1] > 0
    assert 'first_error' in (tmp_path / 'metrics.txt').read_text()
    steps = [of['step'] for of in read_lines(tmp_path) if of['event'] == 'step']
    assert steps == [9, 12]


EVERYTHING = """
from test_research import SGD, part, small

def get_config():
    config = small(
        loss=part('power', exponent=0.5),
        optimizer=SGD,
        metrics={'size': part('logit_size')},
        evaluators={
            'first': part('first_images', count=50, every_steps=7),
            'sure': {'constructor': 'calibration', 'every_epochs': 2},
        },
        writers={'board': {'constructor': 'tensorboard'}},
        log_every_steps=5,
        runs=3,
    )
    config.num_epochs = 12
    config.dataset.train_split = 'train[:3000]'
    return config
"""


@pytest.mark.slow
def test_a_population_with_all_of_it_survives_kill_9_to_the_last_bit(tmp_path):
    (tmp_path / 'everything.py').write_text(EVERYTHING)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / 'tests')))

    def start(workdir):
        return subprocess.Popen(
            [sys.executable, '-m', 'mnist_flax.main', '--config=everything.py',
             f'--workdir={workdir}'],
            cwd=tmp_path, env={**os.environ, 'PYTHONPATH': paths}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    _, stderr = (process := start('whole')).communicate()
    assert process.returncode == 0, stderr
    for _ in range(2):
        process = start('killed')
        assert any(line.startswith('epoch') for line in process.stdout)
        process.kill()
        process.communicate()
    _, stderr = (process := start('killed')).communicate()
    assert process.returncode == 0, stderr
    whole, killed = (tmp_path / name for name in ('whole', 'killed'))
    assert (killed / 'history.csv').read_text() == (whole / 'history.csv').read_text()
    assert read_lines(killed) == read_lines(whole)
    arrays = [checkpoints.read(path / 'model').arrays for path in (whole, killed)]
    jax.tree.map(np.testing.assert_array_equal, *arrays)


def test_a_sweep_of_losses_has_the_same_columns_for_all(tmp_path):
    sweep = {'loss': {'constructor': ('cross_entropy', 'focal')}}
    train_and_evaluate(sweep_of(sweep=sweep), str(tmp_path))
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {row['loss.constructor']: bool(row['train_objective']) for row in rows} == {
        'cross_entropy': False,
        'focal': True,
    }
    assert all(float(row['train_seconds']) > 0 for row in rows)


def test_a_sweep_of_one_value_is_no_sweep(tmp_path):
    config = small(sweep={'optimizer': {'learning_rate': (1e-2,)}}, runs=2)
    metrics = train_and_evaluate(config, str(tmp_path)).metrics
    assert metrics['test_accuracy']['mean'] > 0
    assert not (tmp_path / 'sweep.png').exists()


def test_an_evaluator_may_find_nothing_and_change_its_images(tmp_path):
    config = small(evaluators={'own': part('refilling')})
    (run,) = train_and_evaluate(config, str(tmp_path)).runs
    assert run.history['own_first'][-1] != run.history['own_second'][-1]
    assert json.loads((tmp_path / 'metrics.json').read_text())['own_nothing'] is None


def test_metrics_of_a_step_are_the_same_on_several_devices(tmp_path):
    """The last batch leaves the second device without an example."""
    rows = []
    for num_devices in (1, 2):
        config = small(
            metrics={'size': part('logit_size'), 'norm': {'constructor': 'gradient_norm'}},
            loss=part('power', exponent=0.5),
            log_every_steps=7,
        )
        config.num_devices = num_devices
        config.dataset.train_split = 'train[:310]'
        train_and_evaluate(config, str(tmp_path / str(num_devices)))
        rows.append(read_lines(tmp_path / str(num_devices)))
    assert [row['step'] for row in rows[0]] == [7, 7, 14, 14]
    for one, two in zip(*rows, strict=True):
        assert one.pop('event') == two.pop('event')
        assert one == pytest.approx(two, rel=1e-4)
