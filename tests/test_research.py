"""Parts of a recipe that a researcher names work together, and are resumed."""

import contextlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT
from small_configs import SGD, part, read_lines, small

from configs import default, distilled
from mnist_flax.checkpointing import checkpoints
from mnist_flax.data.datasets import normalize
from mnist_flax.export import export
from mnist_flax.profiling import profile
from mnist_flax.recognition.networks import load_networks
from mnist_flax.train import train_and_evaluate
from mnist_flax.training import evaluators
from mnist_flax.training.plan import make_plan

pytestmark = pytest.mark.usefixtures('without_figures')


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


@pytest.mark.slow
def test_a_model_of_two_outputs_predicts_teaches_and_is_exported(tmp_path):
    name = 'research_parts.TwoHeads'
    config = small(model={'constructor': name}, runs=2)
    result = train_and_evaluate(config, str(tmp_path))
    expected = np.stack([run.logits for run in result.runs])
    images = make_plan(config).dataset.test.images
    logits = load_networks(tmp_path, name).logits(images)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    taught = distilled.Teacher(str(tmp_path), name)(normalize(jnp.asarray(images)))
    np.testing.assert_allclose(taught, expected.mean(axis=0), atol=1e-5)
    export.export_network(str(tmp_path), name, tmp_path / 'exported', 0)
    assert (tmp_path / 'exported/model.stablehlo').is_file()


def test_a_loss_gets_the_images_as_the_network_is_shown_them():
    config = small(loss=part('brightness'))
    of_all = make_plan(config).dataset.train.images.mean(dtype=float) / 255
    (run,) = train_and_evaluate(config).runs
    np.testing.assert_allclose(run.history['train_objective'], of_all, rtol=1e-5)
    config.augment.erase = 1.0
    (run,) = train_and_evaluate(config).runs
    assert np.all(run.history['train_objective'] < 0.95 * of_all)


def test_epochs_of_another_length_are_another_program():
    schedule = {'constructor': 'step', 'every': 1}
    config = small(schedule=schedule)
    other = small(schedule=schedule, num_epochs=4)
    other.dataset.train_split = 'train[:150]'
    one, two = make_plan(config).recipe, make_plan(other).recipe
    assert one.optimizer.num_steps == two.optimizer.num_steps
    assert one != two


def test_the_library_can_be_called_twice_and_writes_nothing(tmp_path, monkeypatch):
    import mnist_flax

    monkeypatch.chdir(tmp_path)
    config = small()
    first, second = (mnist_flax.train_and_evaluate(config) for _ in range(2))
    (run,), (again,) = first.runs, second.runs
    np.testing.assert_array_equal(run.logits, again.logits)
    images = make_plan(config).dataset.test.images
    np.testing.assert_allclose(run.apply(images), run.logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match='must be uint8 of shape .*, found float32'):
        run.apply(images / np.float32(255))
    accuracy = run.history['test_accuracy']
    assert accuracy.shape == (2,)
    assert accuracy[-1] == pytest.approx(first.metrics['test_accuracy'])
    assert list(tmp_path.iterdir()) == []
    assert mnist_flax.load_config('configs/fast.py').num_epochs == 1


@pytest.fixture
def instant_trace(monkeypatch):
    """Traces are empty: a true one describes all that the process has ever compiled."""

    @contextlib.contextmanager
    def trace(folder):
        (folder / 'plugins/profile/now').mkdir(parents=True)
        yield

    monkeypatch.setattr(profile, 'trace', trace)
    monkeypatch.setattr(profile, 'dearest_operations', lambda folder: [])


@pytest.mark.usefixtures('instant_trace')
def test_a_profile_that_is_not_written_is_said_so(tmp_path, capsys):
    config = small()
    for epoch, number, warned in ((2, 1, False), (1, 1, True)):
        train_and_evaluate(config, str(tmp_path), epoch)
        assert len([*tmp_path.glob('profile/plugins/profile/*')]) == number
        warning = f'--profile: epoch {epoch} had been trained before, and was not'
        assert (warning in capsys.readouterr().err) == warned


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


@pytest.mark.parametrize(
    'fields', [{}, {'runs': 2}, {'sweep': {'ema_decay': (0.5, 0.9)}}], ids=str
)
def test_no_evaluator_can_take_a_name_of_the_report(tmp_path, fields):
    config = small(num_epochs=1, log_every_steps=3, **fields)
    if 'sweep' in fields:
        config.dataset.validation, config.dataset.holdout_size = 'holdout', 100
    metrics = train_and_evaluate(config, str(tmp_path)).metrics
    names = {*metrics}.union(*read_lines(tmp_path))
    if fields:
        names |= {*(tmp_path / 'runs.csv').read_text().splitlines()[0].split(',')}
    assert len(names) > 20
    assert [name for name in names if not evaluators.is_taken(name)] == []


def test_each_number_of_an_evaluator_has_a_name_of_its_own():
    found = {0: 0.1, 1: 0.2}
    evaluator = evaluators.Evaluator('recall', lambda: found, 1, 0)
    measured = evaluators._call([evaluator], {})
    assert measured.numbers == {'recall_0': 0.1, 'recall_1': 0.2}


EVERYTHING = """
from small_configs import SGD, part, small

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


def test_an_evaluator_may_find_nothing_and_change_its_images(tmp_path):
    config = small(evaluators={'own': part('refilling')})
    (run,) = train_and_evaluate(config, str(tmp_path)).runs
    assert run.history['own_first'][-1] != run.history['own_second'][-1]
    assert json.loads((tmp_path / 'metrics.json').read_text())['own_nothing'] is None


@pytest.mark.slow
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
