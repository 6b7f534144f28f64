import io
import json

import ml_collections
import numpy as np
import pytest
from PIL import Image

from mnist_flax import data, reports
from mnist_flax.checks import UserError
from mnist_flax.metrics import EpochMetrics
from mnist_flax.shards import Examples

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
    return data.Dataset('toy/1.0.0', examples, examples, examples, tuple('abcdefghij'))


@pytest.mark.parametrize('num_mistakes', [0, 1, 17])
def test_figures_are_drawn_for_any_number_of_mistakes(dataset, num_mistakes):
    logits = 5 * np.eye(10, dtype=np.float32)[dataset.test.labels]
    logits[:num_mistakes] = np.roll(logits[:num_mistakes], 1, axis=-1)
    figures = reports.render_figures(dataset, HISTORY, logits)
    assert set(figures) == {
        'accuracy_plot.png',
        'sample_predictions.png',
        'confusion_matrix.png',
    }
    for content in figures.values():
        with Image.open(io.BytesIO(content)) as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert('L')))) > 20
    assert figures == reports.render_figures(dataset, HISTORY, logits)


def write(workdir, numbers=NUMBERS):
    config = ml_collections.ConfigDict({'seed': 0, 'model': {'features': (32, 64)}})
    return reports.write_report(workdir, config, HISTORY, numbers, {'a.png': b'png'})


def test_every_file_of_a_report(tmp_path):
    names = write(tmp_path)
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
    assert rows[0] == 'epoch,train_loss,train_accuracy,validation_loss,validation_accuracy'
    assert rows[2] == '2,0.25,0.95,0.3,0.9'
    assert len(rows) == 4
    assert (tmp_path / 'a.png').read_bytes() == b'png'


def test_a_second_report_replaces_the_first(tmp_path):
    write(tmp_path)
    write(tmp_path, {**NUMBERS, 'seed': 1})
    assert json.loads((tmp_path / 'metrics.json').read_text())['seed'] == 1


def test_workdirs_are_made_and_probed(tmp_path):
    path = reports.prepare_workdir(str(tmp_path / 'a/b'))
    assert path.is_dir()
    assert list(path.iterdir()) == []


def test_a_workdir_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    for workdir in (tmp_path / 'file', tmp_path / 'file/below'):
        with pytest.raises(UserError, match='--workdir: cannot write to .*; allowed: '):
            reports.prepare_workdir(str(workdir))


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def no_space_left(files):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(reports, 'write_atomically', no_space_left)
    with pytest.raises(UserError, match='No space left on device'):
        write(tmp_path)


def test_the_seed_table_by_hand():
    runs = [
        {**NUMBERS, 'seed': seed, 'test_accuracy': accuracy, 'test_loss': loss,
         'train_seconds': 10.0 * seed}
        for seed, accuracy, loss in ((1, 0.98, 0.03), (2, 0.99, 0.04), (3, 1.0, 0.05))
    ]  # fmt: skip
    assert reports.seed_table(runs).splitlines() == [
        '| seed | test accuracy, % | test loss | training, s |',
        '| --- | --- | --- | --- |',
        '| 1 | 98.00 | 0.0300 | 10 |',
        '| 2 | 99.00 | 0.0400 | 20 |',
        '| 3 | 100.00 | 0.0500 | 30 |',
        '| mean ± sd | 99.00 ± 1.00 | 0.0400 ± 0.0100 | 20 ± 10 |',
        '',
        '3 runs; cpu, 2 cores; jax 1.2.3.',
    ]


def test_the_seed_table_shows_what_was_held_out():
    runs = [
        {**NUMBERS, 'seed': seed, 'validation': 'holdout', 'validation_accuracy': 0.9,
         'test_loss': 0.1, 'train_seconds': 1.0}
        for seed in (0, 1)
    ]  # fmt: skip
    lines = reports.seed_table(runs).splitlines()
    assert lines[0] == (
        '| seed | held-out accuracy, % | test accuracy, % | test loss | training, s |'
    )
    assert lines[2] == '| 0 | 90.00 | 99.12 | 0.1000 | 1 |'
