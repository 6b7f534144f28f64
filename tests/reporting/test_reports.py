import dataclasses
import io
import json

import ml_collections
import numpy as np
import pytest
from PIL import Image

from mnist_flax.data import datasets
from mnist_flax.data.shards import Examples
from mnist_flax.reporting import reports
from mnist_flax.training.metrics import EpochMetrics
from mnist_flax.training.plan import RunPlan
from mnist_flax.training.results import Divergence, RunResult

HISTORY = [
    EpochMetrics(epoch, 0.5 / epoch, 1 - 0.1 / epoch, 0.6 / epoch, 1 - 0.2 / epoch)
    for epoch in (1, 2, 3)
]
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


def make_result(dataset, seed=0, num_mistakes=3, swept=None, diverged=None):
    logits = 5 * np.eye(10, dtype=np.float32)[dataset.test.labels]
    logits[:num_mistakes] = np.roll(logits[:num_mistakes], 1, axis=-1)
    plan = RunPlan(seed, swept or {}, {'learning_rate': 0.1})
    variables = {'params': {'kernel': np.zeros((3, 4))}}
    history = HISTORY[:diverged]
    where = diverged and Divergence(diverged, 9, 0.1)
    return RunResult(plan, history, logits, variables, 10.0 + seed, where)


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


def test_figures_of_populations_show_every_run_that_has_not_diverged(dataset):
    single, diverged, several, swept = (
        reports.render_figures(dataset, results)['accuracy_plot.png']
        for results in (
            [make_result(dataset)],
            [make_result(dataset, 0), make_result(dataset, 1, diverged=2)],
            [make_result(dataset, seed) for seed in range(3)],
            [
                make_result(dataset, seed, swept={'dropout_rate': rate})
                for rate in (0.1, 0.2)
                for seed in range(2)
            ],
        )
    )
    assert single == diverged
    assert len({single, several, swept}) == 3
    for content in (single, several, swept):
        is_drawn(content)


def write(workdir, dataset, results, numbers=NUMBERS):
    config = ml_collections.ConfigDict({'seed': 0, 'model': {'features': (32, 64)}})
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
    assert rows[2] == '2,0.25,0.95,0.3,0.9'
    assert len(rows) == 4
    assert (tmp_path / 'a.png').read_bytes() == b'png'


def test_a_second_report_replaces_the_first_and_what_only_that_had(tmp_path, dataset):
    results = [make_result(dataset, seed) for seed in range(2)]
    numbers = {**NUMBERS, **reports.summarize_population(results, dataset.test.labels)[0]}
    write(tmp_path, dataset, results, numbers)
    assert (tmp_path / 'runs.md').exists()
    write(tmp_path, dataset, results[:1], {**NUMBERS, 'seed': 1})
    assert json.loads((tmp_path / 'metrics.json').read_text())['seed'] == 1
    assert not list(tmp_path.glob('runs.*'))


def table_of(dataset, results, **numbers):
    points = reports.summarize_population(results, dataset.test.labels)
    summary = points[0] if len(points) == 1 else {'points': points}
    rows = [reports._run_row(result, dataset) for result in results]
    return reports.runs_table(rows, {**NUMBERS, **summary, **numbers}).splitlines()


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


def test_the_table_shows_what_was_held_out_and_what_was_swept(dataset):
    results = [
        make_result(dataset, seed, swept={'dropout_rate': rate})
        for rate in (0.0, 0.25)
        for seed in (0, 1)
    ]
    held_out = dataclasses.replace(dataset, validation=dataset.test.slice(0, 10))
    lines = table_of(held_out, results, validation='holdout')
    assert lines[0].startswith('| dropout_rate | seed | held-out accuracy, % | test acc')
    # 1 - 0.2 / 3 in the last epoch of HISTORY.
    assert lines[7].startswith('| 0.25 | 0 | 93.33 | 85.00 |')
    assert len(lines) == 2 + 2 * 5 + 2
