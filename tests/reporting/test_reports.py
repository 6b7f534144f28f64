import csv
import dataclasses
import io
import json
import re
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mnist_flax.data import datasets
from mnist_flax.data.shards import Examples
from mnist_flax.models import cnn
from mnist_flax.reporting import figures, metrics_text, reports, run_tables
from mnist_flax.training.metrics import row_columns
from mnist_flax.training.plan import Plan, RunPlan
from mnist_flax.training.results import Divergence, RunResult, summarize_seeds

NUMBERS = {
    'test_accuracy': 0.9912,
    'interval': (0.9892, 0.9929),
    'seed': 0,
    'validation': 'test',
    'device': 'cpu, 2 cores',
    'versions': {'jax': '1.2.3'},
}


@pytest.fixture
def dataset():
    random = np.random.default_rng(0)
    examples = Examples(
        random.integers(0, 256, (20, 28, 28, 1), np.uint8),
        np.arange(20, dtype=np.int32) % 10,
    )
    return datasets.Dataset('toy/1.0.0', examples, examples, examples, tuple('abcdefghij'))


def make_result(dataset, seed=0, num_mistakes=3, swept=None, diverged=None, held_out=0.9):
    logits = 5 * np.eye(10, dtype=np.float32)[dataset.test.labels]
    logits[:num_mistakes] = np.roll(logits[:num_mistakes], 1, axis=-1)
    plan = RunPlan(seed, seed, swept or {}, {'optimizer.learning_rate': 0.1})
    model = cnn.create_model((2,), 4, 10, 'xla', 'float32', 0.0, False)
    variables = {'params': {'kernel': np.zeros((3, 4))}}
    where = diverged and Divergence(diverged, 9, 0.1)
    columns = row_columns('validation' if swept else 'test')
    rows = [
        dict(zip(columns, (epoch, 0.5 / epoch, 0.8, 0.6 / epoch, held_out), strict=True))
        for epoch in (1, 2, 3)
    ]
    rows = rows[:diverged]
    return RunResult(plan, model, rows, logits, variables, 10.0 + seed, where)


def make_sweep(dataset):
    """Two rates with two seeds each; the second one is better on held-out images."""
    results = [
        make_result(
            dataset,
            seed,
            num_mistakes,
            {'model.dropout_rate': rate},
            None,
            held_out + seed / 50,
        )
        for rate, num_mistakes, held_out in ((0.0, 2, 0.9), (0.25, 3, 0.95))
        for seed in (0, 1)
    ]
    return [
        dataclasses.replace(of, plan=of.plan._replace(position=i))
        for i, of in enumerate(results)
    ]


@pytest.fixture
def held_out(dataset):
    return dataclasses.replace(dataset, validation=dataset.test.slice(0, 10))


def measure(dataset, results):
    settings = SimpleNamespace(num_epochs=3, batch_size=8)
    held_out = dataset.validation is not dataset.test
    settings.dataset = SimpleNamespace(validation='holdout' if held_out else 'test')
    plan = Plan(settings, None, dataset, None, [result.plan for result in results], None)
    numbers = reports.measure(plan, results)
    return {**numbers, 'device': 'cpu, 2 cores', 'versions': {'jax': '1.2.3'}}


def is_drawn(content):
    with Image.open(io.BytesIO(content)) as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert('L')))) > 20


@pytest.mark.parametrize('num_mistakes', [0, 1, 17])
def test_figures_are_drawn_for_any_number_of_mistakes(dataset, num_mistakes):
    results = [make_result(dataset, num_mistakes=num_mistakes)]
    figures = reports.render_figures(dataset, results)
    assert set(figures) == {
        'accuracy_plot.png',
        'sample_predictions.png',
        'confusion_matrix.png',
    }
    for content in figures.values():
        is_drawn(content)
    assert figures == reports.render_figures(dataset, results)


def test_figures_of_populations_show_every_run_that_has_not_diverged(dataset, held_out):
    single, diverged, several = (
        reports.render_figures(dataset, results)['accuracy_plot.png']
        for results in (
            [make_result(dataset)],
            [make_result(dataset, 0), make_result(dataset, 1, diverged=2)],
            [make_result(dataset, seed) for seed in range(3)],
        )
    )
    assert single == diverged
    assert single != several
    for content in (
        several,
        *reports.render_figures(held_out, make_sweep(dataset)).values(),
    ):
        is_drawn(content)


def write(workdir, dataset, results, numbers=NUMBERS):
    config = {'seed': 0, 'model': {'features': [32, 64]}}
    figures = {'a.png': b'png'}
    return reports.write_report(workdir, config, dataset, results, numbers, figures)


def test_every_file_of_a_report(tmp_path, dataset):
    names = write(tmp_path, dataset, [make_result(dataset)])
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert (tmp_path / 'metrics.txt').read_text().splitlines() == [
        'test_accuracy: 0.9912',
        'interval: 0.9892 to 0.9929',
        'seed: 0',
        'validation: test',
        'device: cpu, 2 cores',
        'versions.jax: 1.2.3',
    ]
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics == {**NUMBERS, 'interval': [0.9892, 0.9929]}
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config == {'seed': 0, 'model': {'features': [32, 64]}}
    rows = (tmp_path / 'history.csv').read_text().splitlines()
    assert rows[0] == 'epoch,train_loss,train_accuracy,test_loss,test_accuracy'
    assert rows[2] == '2,0.25,0.8,0.3,0.9'
    assert len(rows) == 4
    assert (tmp_path / 'a.png').read_bytes() == b'png'


def test_a_second_report_replaces_the_first_and_what_only_that_had(tmp_path, dataset):
    results = [make_result(dataset, seed) for seed in range(2)]
    numbers = {**NUMBERS, **summarize_seeds(results, dataset.test.labels)}
    write(tmp_path, dataset, results, numbers)
    assert (tmp_path / 'runs.md').exists()
    write(tmp_path, dataset, results[:1], {**NUMBERS, 'seed': 1})
    assert json.loads((tmp_path / 'metrics.json').read_text())['seed'] == 1
    assert not list(tmp_path.glob('runs.*'))


def table_of(dataset, results):
    numbers = measure(dataset, results)
    rows = [run_tables.run_row(result, dataset, is_chosen=True) for result in results]
    where = reports.describe(numbers)
    return run_tables.to_markdown(rows, numbers, where).splitlines()


def test_the_table_of_runs_by_hand(dataset):
    results = [make_result(dataset, seed, num_mistakes=seed) for seed in (1, 2, 3)]
    header, _, *rows, empty, where = table_of(dataset, results)
    assert header == (
        '| seed | test accuracy, % | test loss | calibration error, % | training, s |'
    )
    assert [row.split(' | ')[:2] for row in rows] == [
        ['| 1', '95.00'],
        ['| 2', '90.00'],
        ['| 3', '85.00'],
        ['| mean ± sd', '90.00 ± 5.00'],
        # Student's t with 2 degrees of freedom: 4.3027 times 5 / √3.
        ['| 95 % interval of the mean', '77.58 to 102.42'],
        ['| ensemble of 3', '90.00'],  # the second image is wrong in two of three
    ]
    assert rows[0].endswith('| 11 |')
    assert empty == ''
    assert where == '3 runs; cpu, 2 cores; jax 1.2.3.'


def test_the_table_shows_what_else_was_measured(dataset, held_out):
    results = [
        dataclasses.replace(of, rows=[*of.rows, of.rows[-1] | {'strangers_accuracy': 0.75}])
        for of in (make_result(dataset, seed, swept={'ema_decay': 0.9}) for seed in (1, 2))
    ]
    lines = table_of(held_out, results)
    assert lines[0].startswith('| seed | held-out accuracy, % | test accuracy, % | test ')
    assert '| strangers_accuracy |' in lines[0]
    assert lines[2].startswith('| 1 | 90.00 | 85.00 |')
    assert ' | 0.7500 ± 0.0000 | ' in lines[4]


@pytest.mark.parametrize('position', [0, 1])
@pytest.mark.parametrize('with_points', [False, True])
def test_what_was_not_measured_of_every_run_is_in_no_table(
    dataset, held_out, position, with_points
):
    """An evaluator may be named, or removed, when some of the runs are finished."""
    results = make_sweep(dataset) if with_points else [*map(make_result, [dataset] * 2)]
    rows = results[position].rows
    rows[-1] = rows[-1] | {'strangers_accuracy': 0.75}
    lines = table_of(held_out if with_points else dataset, results)
    assert len(lines) > 4
    assert 'strangers' not in ' '.join(lines)


def test_a_sweep_says_of_the_test_set_only_what_was_chosen_is(tmp_path, dataset, held_out):
    """On it the first combination is the better one, which nobody should know."""
    results = make_sweep(dataset)
    numbers = measure(held_out, results)
    assert numbers['chosen']['values'] == {'model.dropout_rate': 0.25}
    assert numbers['chosen']['test_accuracy']['mean'] == 0.85
    assert [of['values']['model.dropout_rate'] for of in numbers['points']] == [0.25, 0.0]
    assert 'test_accuracy' not in numbers
    write(tmp_path, held_out, results, numbers)
    with (tmp_path / 'runs.csv').open() as file:
        found = [
            (row['model.dropout_rate'], row['seed'], row['test_accuracy'])
            for row in csv.DictReader(file)
        ]
    assert found == [
        ('0.0', '0', ''), ('0.0', '1', ''), ('0.25', '0', '0.85'), ('0.25', '1', '0.85')
    ]  # fmt: skip
    texts = [(tmp_path / name).read_text() for name in ('runs.md', 'metrics.txt')]
    for text in (*texts, reports.summary_line(numbers)):
        assert re.search(r'test.accuracy:? (85.00|0.850*) ± ', text)
        assert not re.search('90[.]00|0[.]90', text)
        assert 'chosen by held-out accuracy: dropout_rate=0.25 (96.00 ± 1.41 %)' in text
    assert 'model.dropout_rate,seed,epoch,' in (tmp_path / 'history.csv').read_text()


@pytest.mark.parametrize('diverged', [None, 1])
def test_runs_with_held_out_images_say_nothing_of_the_test_set(dataset, held_out, diverged):
    """Who compares settings should not see it; in the report it is."""
    swept = {'ema_decay': 0.9}
    first = make_result(dataset, 0, swept=swept, held_out=0.9)
    second = make_result(dataset, 1, swept=swept, diverged=diverged, held_out=0.94)
    one, two = measure(held_out, [first]), measure(held_out, [first, second])
    more = '; metrics.txt has the test accuracy'
    assert reports.summary_line(one) == f'held-out accuracy 90.00%{more}'
    found = '90.00%; 1 of 2 runs diverged' if diverged else '92.00 ± 2.83 % (mean ± sd)'
    assert reports.summary_line(two) == f'held-out accuracy {found}{more}'
    for numbers in (one, two):
        assert '0.85' in metrics_text.to_text(numbers)
        assert reports.describe_test(numbers).startswith('test accuracy 85.00')


@pytest.mark.parametrize(('shape', 'ratio'), [((28, 28, 1), 1), ((64, 48, 3), 64 / 48)])
def test_images_of_any_shape_keep_their_proportions(shape, ratio):
    examples = Examples(np.zeros((2, *shape), np.uint8), np.array([0, 1], np.int32))
    figure = figures.sample_predictions(examples, np.eye(2), ('a', 'b'), 'name', 'images')
    (axes,) = (axes for part in figure.subfigs for axes in part.axes)
    assert len(axes.images) == 2
    for image in axes.images:
        left, right, bottom, top = image.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(ratio)
        assert max(bottom - top, right - left) == pytest.approx(0.9)


def test_odd_names_of_classes_are_drawn_as_they_are(recwarn):
    """Dollar signs are no formulas, and long names leave room for the images."""
    names = ['price_$0_to_$10', '$\\frac{1}', '猫', 'a very long name ' * 12]
    examples = Examples(np.zeros((4, 9, 9, 1), np.uint8), np.arange(4, dtype=np.int32))
    for figure in (
        figures.sample_predictions(examples, np.eye(4)[[1, 2, 3, 0]], names, 'title'),
        figures.confusion_matrix(np.ones((4, 4), int), names, 'title'),
    ):
        figures.to_png(figure)
        (axes, *_) = figure.axes
        labels = [*axes.texts, *axes.get_xticklabels()]
        texts = ' '.join(label.get_text() for label in labels).replace('\\$', '$')
        for name in (*names[:3], 'a very long nam…'):
            assert name in texts
        assert names[3] not in texts
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    'settings', [{'text.usetex': True}, {'axes.facecolor': 'red', 'font.size': 30}]
)
def test_figures_look_the_same_whatever_matplotlib_is_set_to(dataset, settings):
    def draw():
        counts = np.eye(10, dtype=int)
        figure = figures.confusion_matrix(counts, dataset.class_names, 'title')
        return figures.to_png(figure)

    expected = draw()
    with matplotlib.rc_context(settings):
        assert draw() == expected
