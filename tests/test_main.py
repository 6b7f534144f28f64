"""The real command, in a subprocess, on the real MNIST."""

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
import tfds_directory
from conftest import ROOT

from configs import default
from mnist_flax import checkpoints, workdirs
from mnist_flax.devices import count_cores

OUTPUTS = {
    'accuracy_plot.png',
    'config.json',
    'confusion_matrix.png',
    'history.csv',
    'metrics.json',
    'metrics.txt',
    'sample_predictions.png',
}
KEPT = {'.lock', 'checkpoints', 'model'}
SHORT = (
    '--config.dataset.train_split=train[:600]',
    '--config.dataset.test_split=test[:250]',
    '--config.num_epochs=2',
)


@pytest.fixture(scope='module')
def short_run(command, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('short') / 'outputs'
    process = command(
        '-m',
        'mnist_flax.main',
        '--config=configs/default.py',
        *SHORT,
        f'--workdir={workdir}',
    )
    assert process.returncode == 0, process.stderr
    return process, workdir


def test_every_output_is_there(short_run):
    _, workdir = short_run
    assert {path.name for path in workdir.iterdir()} == OUTPUTS | KEPT
    # A fresh start moves all of them.
    assert {*workdirs._FILES} >= OUTPUTS | KEPT - {'.lock'}
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
    assert float(rows[-1]['validation_accuracy']) == metrics['test_accuracy']
    text = dict(
        line.split(': ', 1) for line in (workdir / 'metrics.txt').read_text().splitlines()
    )
    assert float(text['test_accuracy']) == pytest.approx(metrics['test_accuracy'], rel=1e-5)
    config = json.loads((workdir / 'config.json').read_text())
    assert config['dataset']['train_split'] == 'train[:600]'
    assert config['model']['features'] == [32, 64]


@pytest.mark.slow
def test_a_population_is_one_command(command, tmp_path):
    """Three seeds, two learning rates and an ensemble of each."""
    process = command(
        '-m',
        'mnist_flax.main',
        '--config=configs/default.py',
        *SHORT,
        '--config.runs=3',
        '--config.sweep.learning_rate=(1e-3,3e-3)',
        '--config.model.conv=xla',
        '--config.model.features=(4,8)',
        f'--workdir={tmp_path}',
    )
    assert process.returncode == 0, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == OUTPUTS | KEPT | {
        'runs.csv',
        'runs.md',
    }
    with (tmp_path / 'runs.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['learning_rate'], row['seed']) for row in rows] == [
        (rate, seed) for rate in ('0.001', '0.003') for seed in '012'
    ]
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    for rate, point in zip((0.001, 0.003), metrics['points'], strict=True):
        accuracies = [
            float(row['test_accuracy'])
            for row in rows
            if float(row['learning_rate']) == rate
        ]
        assert point['learning_rate'] == rate
        assert point['test_accuracy']['mean'] == pytest.approx(sum(accuracies) / 3)
        assert point['test_accuracy']['min'] == min(accuracies)
        assert point['ensemble']['size'] == 3
    table = (tmp_path / 'runs.md').read_text().splitlines()
    assert len(table) == 2 + 2 * (3 + 3) + 2
    assert '6 runs; cpu' in table[-1]
    with (tmp_path / 'history.csv').open() as file:
        assert len(list(csv.DictReader(file))) == 6 * 2
    assert 'points.1.learning_rate: 0.003' in (tmp_path / 'metrics.txt').read_text()
    assert 'test accuracy of 2 combinations: see runs.md' in process.stdout


def test_what_a_log_shows(short_run):
    process, workdir = short_run
    lines = process.stdout.splitlines()
    assert any('225,034' in line for line in lines)
    assert 'data: mnist/3.0.1, 600 train, 250 validation, 250 test images' in lines
    assert [line[:10] for line in lines if line.startswith('epoch')] == [
        'epoch 1/2 ',
        'epoch 2/2 ',
    ]
    assert str(workdir) in lines[-1]
    assert process.stderr == ''


@pytest.mark.slow
def test_the_holdout_is_validated_and_the_test_set_reported(command, tmp_path):
    process = command(
        '-m',
        'mnist_flax.main',
        *SHORT,
        '--config.num_epochs=1',
        '--config.dataset.validation=holdout',
        '--config.dataset.holdout_size=100',
        '--config.seed=3',
        '--config.batch_size=100',
        '--config.optimizer.learning_rate=3e-3',
        '--config.model.conv=xla',
        f'--workdir={tmp_path}',
    )
    assert process.returncode == 0, process.stderr
    assert '500 train, 100 validation, 250 test images' in process.stdout
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


BROKEN_CONFIGS = {
    'syntax.py': 'def get_config(:\n',
    'name.py': 'def get_config():\n    return undefined\n',
    'list.py': 'def get_config():\n    return [1]\n',
    'unknown.py': (
        'from configs import default\n'
        'def get_config():\n'
        '    config = default.get_config()\n'
        '    config.optimizer.momentum = 0.9\n'
        '    return config\n'
    ),
    'missing.py': (
        'from configs import default\n'
        'def get_config():\n'
        '    config = default.get_config()\n'
        '    del config.batch_size\n'
        '    return config\n'
    ),
}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--config.sed=1'], 'Did you mean "seed"'),
        (['--config.dataset.nam=mnist'], 'Did you mean "name"'),
        (['--config.seed=abc'], 'flag --config.seed=abc: invalid literal for int()'),
        (['--config.model.features=(3,"a")'], 'allowed: tuple[int, ...]'),
        (['--config.model.conv=fast'], "allowed: 'auto', 'xla', 'winograd'"),
        (['--config.dataset.validation=none'], "allowed: 'test', 'holdout'"),
        (['--config=no/such.py'], "found 'no/such.py', which is no file"),
        (['--config=no/such.py', '--config.seed=1'], "found 'no/such.py'"),
        (['--config={tmp}/syntax.py'], 'syntax.py, line 1: '),
        (['--config={tmp}/name.py'], "name.py, line 2: NameError: name 'undefined'"),
        (['--config={tmp}/list.py'], 'get_config() returned list, no ConfigDict'),
        (['--config={tmp}/unknown.py'], "config.optimizer has no field 'momentum'"),
        (['--config={tmp}/missing.py'], 'config.batch_size is missing; allowed: int'),
        (['--wrkdir=x'], "Unknown command line flag 'wrkdir'"),
        (['extra'], "unexpected argument 'extra'"),
        (['--config.num_epochs=0'], 'config.num_epochs: found 0; allowed: 1 or more'),
        (['--config.batch_size=0'], 'config.batch_size: found 0'),
        (
            ['--config.batch_size=60001'],
            'config.batch_size: found 60001; allowed: 1 to 60000',
        ),
        (['--config.seed=-1'], 'config.seed: found -1; allowed: 0 to'),
        (
            ['--config.optimizer.learning_rate=0'],
            'learning_rate: found 0.0; allowed: a pos',
        ),
        (['--config.optimizer.learning_rate=nan'], 'learning_rate: found nan'),
        (['--config.optimizer.name=adm'], "optimizer.name: found 'adm'; allowed: "),
        (['--config.dataset.name=mnits'], "found 'mnits'"),
        (
            ['--config=configs/fashion_mnist.py', '--config.dataset.data_dir={tmp}'],
            'download_and_prepare()',
        ),
        (['--config.dataset.train_split=tran'], "train_split: found 'tran'"),
        (
            ['--config.model.num_classes=9'],
            'config.model: found logits of shape (2, 9) for 2 images; allowed: num_classes '
            '= 10 for each',
        ),
        (['--config.model.constructor=no.model'], "constructor: found 'no.model' (Modu"),
        (['--config.sweep.dropout_rate=(0.5,2)'], 'dropout_rate: found 2'),
        (['--workdir=README.md'], "--workdir: cannot write to 'README.md'"),
        (['--config.num_devices=-1'], 'config.num_devices: found -1; allowed: 0 to '),
        (['--config.num_devices=1000'], 'config.num_devices: found 1000; allowed: 0 to '),
        (['--config.model.dtype=float16'], "allowed: 'float32', 'bfloat16'"),
        (['--config.matmul_precision=low'], "allowed: 'float32', 'tensorfloat32'"),
        (['--num_processes=2', '--process_id=0'], '--coordinator_address: missing'),
        (
            ['--coordinator_address=a:1', '--num_processes=2', '--process_id=2'],
            '--process_id: found 2; allowed: 0 to 1',
        ),
        (['--distributed'], '--coordinator_address: found no cluster'),
    ],
)
def test_bad_input_ends_in_one_line(command, tmp_path, arguments, message):
    for name, content in BROKEN_CONFIGS.items():
        (tmp_path / name).write_text(content)
    workdir = tmp_path / 'outputs'
    workdir.mkdir()
    (workdir / 'metrics.txt').write_text('an earlier run')
    process = command(
        '-m',
        'mnist_flax.main',
        f'--workdir={workdir}',
        *(argument.format(tmp=tmp_path) for argument in arguments),
    )
    assert process.returncode in (1, 2)
    assert process.stderr.startswith('error: ')
    assert message in process.stderr
    assert process.stderr.count('\n') == 1
    assert process.stdout == ''
    assert [path.name for path in workdir.iterdir()] == ['metrics.txt']
    assert (workdir / 'metrics.txt').read_text() == 'an earlier run'


@pytest.mark.slow
@pytest.mark.parametrize('num_examples', [100, 600])
def test_divergence_is_reported_and_nothing_overwritten(command, tmp_path, num_examples):
    # 100 examples are one step, after which only the validation loss can tell.
    process = command(
        '-m',
        'mnist_flax.main',
        *SHORT,
        f'--config.dataset.train_split=train[:{num_examples}]',
        '--config.batch_size=100',
        '--config.num_epochs=1',
        '--config.optimizer.name=sgd',
        '--config.optimizer.learning_rate=1e30',
        f'--workdir={tmp_path}',
    )
    assert process.returncode == 1
    step = 1 if num_examples == 100 else 2
    assert process.stderr.startswith(f'error: training diverged in epoch 1 at step {step}')
    assert 'where the learning rate was ' in process.stderr
    assert 'e+29: found' in process.stderr or '1e+30: found' in process.stderr
    assert process.stderr.endswith('no checkpoint came before\n')
    assert process.stderr.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['.lock']


def start(workdir, *arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'mnist_flax.main', f'--workdir={workdir}',
         '--config.dataset.train_split=train[:4000]', *SHORT[1:2],
         '--config.num_epochs=6', '--config.model.conv=xla',
         '--config.model.features=(4,8)', *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope='module')
def untouched(tmp_path_factory):
    """What `start` ends with if nothing happens."""
    workdir = tmp_path_factory.mktemp('untouched')
    _, stderr = start(workdir).communicate(timeout=120)
    assert stderr == ''
    return read_timeless(workdir)


def read_timeless(workdir):
    metrics = json.loads((workdir / 'metrics.json').read_text())
    files = (*workdir.glob('*.png'), *workdir.glob('history.csv'))
    return (
        {path.name: path.read_bytes() for path in files},
        {name: value for name, value in metrics.items() if not name.endswith('seconds')},
        {k: v.tobytes() for k, v in checkpoints.read(workdir / 'model').arrays.items()},
    )


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_the_same_command_ends_as_if_nothing_had(
    tmp_path, untouched, number
):
    (tmp_path / 'metrics.txt').write_text('an earlier run')
    process = start(tmp_path)
    assert any(line.startswith('epoch 2/6') for line in process.stdout)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    if number == signal.SIGKILL:
        assert (process.returncode, stderr) == (-9, '')
    else:
        assert process.returncode == 128 + number
        first, second = stderr.splitlines()
        assert first == 'saving the run; once more leaves at once'
        word = 'interrupted' if number == signal.SIGINT else 'terminated'
        found = re.fullmatch(
            f'error: {word}; saved in (.*); the same command goes on from there', second
        )
        assert (pathlib.Path(found[1]) / 'SHA256SUMS').is_file()
    assert {path.name for path in tmp_path.iterdir()} == {
        '.lock',
        'checkpoints',
        'metrics.txt',
    }
    assert (tmp_path / 'metrics.txt').read_text() == 'an earlier run'
    process = start(tmp_path)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, '')
    assert re.search(
        r'^resumed: [1-5] of 6 epochs (and \d+ of .*)?were done before$', stdout, re.M
    )
    assert read_timeless(tmp_path) == untouched


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_and_another_is_refused(tmp_path, untouched):
    for _ in range(2):
        stdout, stderr = start(tmp_path).communicate(timeout=60)
        assert stderr == ''
    assert '\nresumed: 6 of 6 epochs were done before\n' in stdout
    assert '\nepoch' not in stdout
    assert read_timeless(tmp_path) == untouched
    process = start(tmp_path, '--config.batch_size=64')
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith('error: --workdir: found in ')
    assert '(batch_size 128, here 64)' in stderr
    assert stderr.count('\n') == 1
    assert read_timeless(tmp_path) == untouched


def read_finished(folder):
    """Reads all files, but for those of a checkpoint that was being written."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path: path.read_bytes() for path in files if '.new' not in str(path)}


@pytest.mark.slow
def test_a_workdir_has_one_process_at_work(tmp_path):
    first = start(tmp_path, '--config.num_epochs=1000')
    assert any(line.startswith('epoch') for line in first.stdout)
    second = start(tmp_path)
    _, stderr = second.communicate(timeout=60)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert stderr.startswith(f'error: --workdir: another process is at work in {tmp_path}')
    assert stderr.count('\n') == 1


@pytest.mark.slow
def test_a_disk_without_room_is_one_line_and_harms_nothing(tmp_path, untouched):
    process = start(tmp_path)
    assert any(line.startswith('epoch 3/6') for line in process.stdout)
    process.kill()
    process.communicate()
    kept = read_finished(tmp_path / 'checkpoints')
    # No file may grow beyond 8 kB, which the network's needs. JAX would warn that it cannot
    # keep what it has compiled.
    limited = ['sh', '-c', 'ulimit -f 8; exec "$0" "$@"', *process.args]
    environment = {**os.environ, 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
    process = subprocess.Popen(
        limited,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,  # not a file, which would be limited too
        stderr=subprocess.PIPE,
        text=True,
    )
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith('error: --workdir: cannot write the checkpoint ')
    assert '(File too large); allowed: ' in stderr
    assert stderr.count('\n') == 1
    assert read_finished(tmp_path / 'checkpoints') == kept
    assert not [*tmp_path.rglob('.*.new*')]  # which would take what room there is
    start(tmp_path).communicate(timeout=60)
    assert read_timeless(tmp_path) == untouched


def test_an_output_on_a_full_disk_is_one_line(command):
    code = 'from mnist_flax import cli; cli.run(lambda: print("hello", flush=True))'
    process = command('-c', f'import os; os.dup2(os.open("/dev/full", 1), 1); {code}')
    assert process.returncode == 1
    assert process.stderr == 'error: [Errno 28] No space left on device\n'


def test_ctrl_c_is_not_swallowed(command):
    """As a KeyboardInterrupt is by some code that runs while JAX is imported."""
    process = command(
        '-c',
        'import os, signal, time\n'
        'from mnist_flax import cli\n'
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
    assert process.stderr == 'error: interrupted; files already written are whole\n'


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
        'from mnist_flax import data\n'
        'data.load("mnist", "", "train[:9]", "test[:9]", "test", 0)\n'
        'assert "tensorflow" not in sys.modules\n',
        PYTHONPATH=str(tmp_path),
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == ''


def test_the_committed_report_is_that_of_the_default_config():
    outputs = ROOT / 'outputs'
    assert {path.name for path in outputs.iterdir() if path.is_file()} == OUTPUTS
    config = json.loads((outputs / 'config.json').read_text())
    assert config == json.loads(default.get_config().to_json())
    metrics = json.loads((outputs / 'metrics.json').read_text())
    assert metrics['num_parameters'] == 225_034
    assert metrics['test_accuracy'] >= 0.99
