"""The real command, in a subprocess, on the real MNIST."""

import csv
import json

import pytest
import tfds_directory
from repository import ROOT

from configs import default
from mnist_flax.checkpointing import earlier_runs
from mnist_flax.recognition.networks import load_networks
from mnist_flax.training import plan
from mnist_flax.training.devices import count_cores
from mnist_flax.training.settings import to_tree

OUTPUTS = {
    'accuracy_plot.png',
    'config.json',
    'confusion_matrix.png',
    'history.csv',
    'metrics.json',
    'metrics.txt',
    'sample_predictions.png',
}
KEPT = {'.lock', 'checkpoints', 'metrics.jsonl', 'model'}
SHORT = (
    '--config.dataset.train_split=train[:600]',
    '--config.dataset.test_split=test[:250]',
    '--config.num_epochs=2',
)


@pytest.fixture(scope='module')
def train(command):
    """Runs the main command for two epochs on few images, with further flags."""

    def run(workdir, *flags):
        return command('-m', 'mnist_flax.main', *SHORT, *flags, f'--workdir={workdir}')

    return run


@pytest.fixture(scope='module')
def short_run(train, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('short') / 'outputs'
    process = train(workdir)
    assert process.returncode == 0, process.stderr
    return process, workdir


def test_every_output_is_there(short_run):
    _, workdir = short_run
    assert {path.name for path in workdir.iterdir()} == OUTPUTS | KEPT
    # A fresh start moves all of them.
    assert {*earlier_runs._FILES} >= OUTPUTS | KEPT - {'.lock'}
    for path in workdir.glob('*.png'):
        assert path.read_bytes().startswith(b'\x89PNG')


def test_the_metrics_agree_with_each_other_and_with_the_config(short_run):
    _, workdir = short_run
    metrics = json.loads((workdir / 'metrics.json').read_text())
    assert metrics['num_parameters'] == 225_034
    assert metrics['num_epochs'] == 2
    assert metrics['seed'] == 0
    assert metrics['dataset'] == 'mnist/3.0.1'
    assert metrics['validation'] == 'test'
    assert metrics['versions']['jax']
    # 128 examples are divided among two cores, or among four where there are more.
    assert metrics['num_devices'] == min(2 ** (count_cores().bit_length() - 1), 4)
    assert metrics['total_seconds'] > metrics['train_seconds'] > 0
    # 250 test images: the accuracy is a whole number of them, well above chance.
    assert metrics['test_accuracy'] * 250 == pytest.approx(
        round(metrics['test_accuracy'] * 250)
    )
    assert metrics['test_accuracy'] > 0.5
    low, high = metrics['test_accuracy_95_percent_interval']
    assert low < metrics['test_accuracy'] < high
    with (workdir / 'history.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['epoch'] for row in rows] == ['1', '2']
    # What is validated on the test set is called test, here and in the metrics.
    assert not [name for name in {*rows[-1], *metrics} if name.startswith('validation_')]
    assert float(rows[-1]['test_accuracy']) == metrics['test_accuracy']
    text = dict(
        line.split(': ', 1) for line in (workdir / 'metrics.txt').read_text().splitlines()
    )
    assert float(text['test_accuracy']) == pytest.approx(metrics['test_accuracy'], rel=1e-5)
    config = json.loads((workdir / 'config.json').read_text())
    assert config['dataset']['train_split'] == 'train[:600]'
    assert config['model']['features'] == [32, 64]


@pytest.mark.slow
def test_a_population_is_one_command(train, tmp_path):
    """Three seeds and two learning rates, compared on held-out images."""
    process = train(
        tmp_path,
        '--config.runs=3',
        '--config.sweep.optimizer.learning_rate=(1e-4,3e-3)',
        '--config.dataset.validation=holdout',
        '--config.dataset.holdout_size=200',
        '--config.model.conv=xla',
        '--config.model.features=(4,8)',
    )
    assert process.returncode == 0, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == OUTPUTS | KEPT | {
        'runs.csv',
        'runs.md',
        'sweep.png',
    }
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['optimizer.learning_rate'], row['seed']) for row in rows] == [
        (rate, seed) for rate in ('0.0001', '0.003') for seed in '012'
    ]
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    best, other = metrics['points']  # ranked
    for rate, point in ((0.003, best), (0.0001, other)):
        accuracies = [
            float(row['validation_accuracy'])
            for row in rows
            if float(row['optimizer.learning_rate']) == rate
        ]
        assert point['values'] == {'optimizer.learning_rate': rate}
        assert point['held_out_accuracy']['mean'] == pytest.approx(sum(accuracies) / 3)
        assert list(point['held_out_accuracy_of_seeds'].values()) == accuracies
    # The test set is looked at for the one that was chosen alone.
    assert [row['test_accuracy'] != '' for row in rows] == [False] * 3 + [True] * 3
    chosen = metrics['chosen']
    tested = [float(row['test_accuracy']) for row in rows[3:]]
    assert chosen['values'] == best['values']
    assert chosen['test_accuracy']['mean'] == pytest.approx(sum(tested) / 3)
    assert chosen['ensemble']['size'] == 3
    table = (tmp_path / 'runs.md').read_text()
    assert '6 runs; cpu' in table.splitlines()[-1]
    for text in (process.stdout, table, (tmp_path / 'metrics.txt').read_text()):
        assert 'chosen by held-out accuracy: learning_rate=0.003 (' in text
    with (tmp_path / 'history.csv').open() as file:
        assert len(list(csv.DictReader(file))) == 6 * 2
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    found = [
        (of['run'], of['epoch'], of['optimizer.learning_rate'])
        for of in map(json.loads, lines)
    ]
    rates = [0.0001] * 3 + [0.003] * 3
    assert sorted(found) == [(i, n, rates[i]) for i in range(6) for n in (1, 2)]
    networks = load_networks(str(tmp_path))
    assert networks.about['config']['optimizer']['learning_rate'] == 0.003
    assert [run['seed'] for run in networks.about['runs']] == [0, 1, 2]


def test_what_a_log_shows(short_run):
    process, workdir = short_run
    lines = process.stdout.splitlines()
    assert any('225,034' in line for line in lines)
    assert 'data: mnist/3.0.1, 600 train, 250 test images' in lines
    assert [line[:10] for line in lines if line.startswith('epoch')] == [
        'epoch 1/2 ',
        'epoch 2/2 ',
    ]
    assert str(workdir) in lines[-1]
    assert process.stderr == ''


@pytest.mark.slow
def test_the_holdout_is_validated_and_the_test_set_reported(train, tmp_path):
    process = train(
        tmp_path,
        '--config.num_epochs=1',
        '--config.dataset.validation=holdout',
        '--config.dataset.holdout_size=100',
        '--config.seed=3',
        '--config.batch_size=100',
        '--config.optimizer.learning_rate=3e-3',
        '--config.model.conv=xla',
    )
    assert process.returncode == 0, process.stderr
    assert '500 train, 100 held-out, 250 test images' in process.stdout
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['validation'] == 'holdout'
    assert metrics['seed'] == 3
    assert round(metrics['validation_accuracy'] * 100, 6) % 1 == 0


@pytest.mark.slow
def test_fashion_mnist_s_config_runs_the_same_pipeline(command, tmp_path, mnist):
    # Digits under the other name, since its own images cannot be had offline.
    images, labels = mnist.test.slice(0, 300)
    tfds_directory.write(tmp_path / 'tfds', 'fashion_mnist', images, labels)
    process = command(
        '-m',
        'mnist_flax.main',
        '--config=configs/fashion_mnist.py',
        f'--config.dataset.data_dir={tmp_path / "tfds"}',
        '--config.num_epochs=1',
        f'--workdir={tmp_path / "outputs"}',
    )
    assert process.returncode == 0, process.stderr
    metrics = json.loads((tmp_path / 'outputs/metrics.json').read_text())
    assert metrics['dataset'] == 'fashion_mnist/1.0.0'
    assert {path.name for path in (tmp_path / 'outputs').iterdir()} == OUTPUTS | KEPT


@pytest.mark.slow
@pytest.mark.parametrize('num_examples', [100, 600])
def test_divergence_is_reported_and_nothing_overwritten(train, tmp_path, num_examples):
    # 100 examples are one step, after which only the validation loss can tell.
    process = train(
        tmp_path,
        f'--config.dataset.train_split=train[:{num_examples}]',
        '--config.batch_size=100',
        '--config.num_epochs=1',
        '--config.optimizer.constructor=sgd',
        '--config.optimizer.learning_rate=1e30',
    )
    assert process.returncode == 1
    step = 1 if num_examples == 100 else 2
    assert process.stderr.startswith(f'error: training diverged in epoch 1 at step {step}')
    assert 'where the learning rate was ' in process.stderr
    assert 'e+29: the loss' in process.stderr or '1e+30: the loss' in process.stderr
    assert process.stderr.endswith('no checkpoint came before\n')
    assert process.stderr.count('\n') == 1
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {'.lock', 'metrics.jsonl'}


def test_an_output_on_a_full_disk_is_one_line(command):
    code = 'from mnist_flax.common import cli; cli.run(lambda: print("hello", flush=True))'
    process = command('-c', f'import os; os.dup2(os.open("/dev/full", 1), 1); {code}')
    assert process.returncode == 1
    assert process.stderr == 'error: [Errno 28] No space left on device\n'


def test_ctrl_c_is_not_swallowed(command):
    """As a KeyboardInterrupt is by some code that runs while JAX is imported."""
    process = command(
        '-c',
        'import os, signal, time\n'
        'from mnist_flax.common import cli\n'
        'cli.define_config("configs/default.py")\n'
        'def main():\n'
        '    try:\n'
        '        os.kill(os.getpid(), signal.SIGINT)\n'
        '        time.sleep(10)\n'
        '    except BaseException:\n'
        '        pass\n'
        'cli.run(main)\n',
    )
    assert process.returncode == 130
    assert process.stderr == 'error: interrupted\n'


def test_help_names_the_flags(command):
    process = command('-m', 'mnist_flax.main', '--help')
    assert '--config:' in process.stdout
    assert '--workdir:' in process.stdout
    assert 'num_epochs=3' in process.stdout


def test_tensorflow_is_not_imported(command, tmp_path):
    """Neither by the imports nor by loading data, even where it is installed."""
    (tmp_path / 'tensorflow').mkdir()
    (tmp_path / 'tensorflow/__init__.py').write_text('print("imported")\n')
    process = command(
        '-c',
        'import sys, mnist_flax.train\n'
        'from mnist_flax.data import datasets\n'
        'datasets.load("mnist", "", "train[:9]", "test[:9]", "test", 0)\n'
        'assert "tensorflow" not in sys.modules\n',
        PYTHONPATH=str(tmp_path),
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == ''


def test_the_committed_report_is_that_of_the_default_config():
    reference = ROOT / 'outputs/reference'
    assert {path.name for path in reference.iterdir()} == OUTPUTS
    config = json.loads((reference / 'config.json').read_text())
    assert config == to_tree(plan.complete(default.get_config(), num_classes=10))
    metrics = json.loads((reference / 'metrics.json').read_text())
    assert metrics['num_parameters'] == 225_034
    assert metrics['test_accuracy'] >= 0.99
