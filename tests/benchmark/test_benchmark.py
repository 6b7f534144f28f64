"""The benchmark against PyTorch and Keras: its command, with our contender, and tables."""

import subprocess
import sys

import numpy as np
import pytest
import tfds_directory
from repository import ROOT

sys.path.insert(0, str(ROOT / 'scripts'))
from benchmarking import cost, layers, measure
from benchmarking.report import Table, to_figure

from mnist_flax.common.errors import UserError

# A contender without a network: it trains in no time, and ends in its third epoch.
CONTENDER = """
import json, os, signal, sys, time
print(json.dumps({'fake': '1.0'}), flush=True)
epochs = 0
for line in sys.stdin:
    epochs += json.loads(line)['command'] == 'train'
    if epochs == 3:
        %s
    print(json.dumps([0.5 * epochs, 9000]), flush=True)
"""


@pytest.mark.slow  # it compiles the default network anew
def test_our_contender_learns_and_a_peer_that_is_missing_is_left_out(command, tmp_path):
    process = command(
        *('scripts/benchmark.py', '--parts=epoch', '--contenders=mnist_flax,keras'),
        *('--rounds=2', '--num_examples=640', f'--workdir={tmp_path}'),
        '--peers_python=/no/python',
    )
    assert process.returncode == 0, process.stderr
    assert "left out: [Errno 2] No such file or directory: '/no/python'" in process.stderr
    assert process.stdout == (tmp_path / 'epoch.md').read_text() + '\n'
    assert (tmp_path / 'epoch.png').read_bytes().startswith(b'\x89PNG')
    (row,) = [line for line in process.stdout.splitlines() if '| mnist_flax' in line]
    assert float(row.split()[-2]) > 40  # percent, of the test images
    assert 'epoch of 640 images, s, mnist_flax: ' in process.stderr


@pytest.mark.slow
def test_populations(command, tmp_path):
    process = command(
        *('scripts/benchmark.py', '--parts=population', '--contenders=mnist_flax'),
        *('--rounds=1', '--num_examples=128', '--populations=2', f'--workdir={tmp_path}'),
    )
    assert process.returncode == 0, process.stderr
    rows = [line.split(' | ')[0] for line in process.stdout.splitlines()]
    ways = ['one after another', 'one on each core', 'all in one program']
    assert [row for row in rows if row[2:] in ways] == [f'| {way}' for way in ways]


@pytest.mark.slow
def test_cost_grows_with_the_work(tmp_path, monkeypatch):
    axes = {'num_examples': ('images', (256, 7_680)), 'side': ('width', (12,))}
    monkeypatch.setattr(cost, '_AXES', axes)
    monkeypatch.setitem(cost._BASE, 'num_examples', 256)
    data = 'mnist', ''
    benchmark = measure.Benchmark(
        tmp_path, ['mnist_flax'], '', sys.executable, 1, 0, [], *data
    )
    benchmark.cost()
    by_images, by_width = benchmark.tables
    ((less,), (more,)) = (of[cost.TRAINING] for of in by_images.columns.values())
    assert more > 3 * less > 0  # 30 times the work
    (memory,) = by_width.columns['12'][cost.MEMORY]
    assert 0.1 < memory < 24  # GiB


@pytest.mark.slow
def test_logging_is_compared_with_none(command, tmp_path):
    process = command(
        *('scripts/benchmark.py', '--parts=logging', '--contenders=mnist_flax'),
        *('--rounds=1', '--num_examples=7680', f'--workdir={tmp_path}'),
    )
    assert process.returncode == 0, process.stderr
    rows = [line.split(' | ') for line in process.stdout.splitlines() if ' | ' in line]
    found = {row[0].strip('| '): float(row[1]) for row in rows[2:]}
    assert found.keys() == {'not logged', 'logged'}
    assert min(found.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('last', 'status', 'message'),
    [
        ("sys.exit('no memory')", 1, 'error: baseline: no memory'),
        (
            'os.kill(os.getppid(), signal.SIGINT); time.sleep(60)',
            130,
            'error: interrupted; what was measured is reported',
        ),
    ],
)
def test_what_was_measured_before_the_end_is_reported(
    command, tmp_path, last, status, message
):
    file = tmp_path / 'scripts' / 'contenders' / 'ours.py'
    file.parent.mkdir(parents=True)
    file.write_text(CONTENDER % last)
    with subprocess.Popen([sys.executable, '-c', 'while True: pass']) as other:
        process = command(
            *('scripts/benchmark.py', '--parts=epoch,scaling', '--contenders='),
            *(f'--baseline={tmp_path}', f'--workdir={tmp_path}'),
        )
        other.kill()
    assert process.returncode == status, process.stderr
    assert 'warning: other programs use ' in process.stderr
    assert process.stderr.splitlines()[-1] == message
    header = '| contender | set-up and compilation, s | epoch of 60,000 images, s | '
    header += 'evaluation of 10,000 images, s |\n'
    assert header in process.stdout
    assert '| baseline | 0.000 | 0.750 (0.500–1.00) | 0.750 (0.500–1.00) |\n' in (
        process.stdout
    )
    assert 'baseline, fake 1.0' in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize('name', ['own', 'mnist'])
def test_any_data_set_takes_part(command, tmp_path, name):
    """Also one that has the name of the MNIST that comes along."""
    images = np.random.default_rng(0).integers(0, 256, (256, 12, 15, 3), np.uint8)
    labels = np.arange(256) % 3
    images[labels == 1] //= 2
    tfds_directory.write(tmp_path, name, images, labels, num_classes=3)
    process = command(
        *('scripts/benchmark.py', '--parts=epoch', '--contenders=mnist_flax'),
        *('--rounds=2', f'--dataset={name}', f'--data_dir={tmp_path}'),
        f'--workdir={tmp_path / "out"}',
    )
    assert process.returncode == 0, process.stderr
    header, _, row = process.stdout.splitlines()[2:5]
    assert 'epoch of 256 images, s | evaluation of 256 images, s |' in header
    assert float(row.split()[-2]) > 40  # percent, of three classes


@pytest.mark.slow
def test_layers_are_compared_with_those_of_xla(tmp_path, monkeypatch):
    for group in ('_FIRST', '_LATER', '_SMALL'):
        monkeypatch.setattr(layers, group, ((4, 4, 1 if group == '_FIRST' else 8, 2),))
    benchmark = measure.Benchmark(tmp_path, [], '', sys.executable, 2, 0, [], 'mnist', '')
    benchmark.layers()
    assert len(benchmark.tables) == 5
    for table in benchmark.tables:
        (cells,) = table.columns.values()
        assert [*cells] == ['winograd', 'xla']
        assert min(min(values) for values in cells.values()) > 0


def test_other_data_have_some_parts(command):
    process = command('scripts/benchmark.py', '--dataset=kmnist')
    assert (process.returncode, process.stdout) == (1, '')
    assert process.stderr == (
        "error: --dataset: found 'kmnist'; the parts cost, logging, population, "
        'time_to_99 measure the MNIST that comes along; choose --parts=epoch,scaling\n'
    )


@pytest.mark.parametrize(
    ('side', 'num_examples', 'message'),
    [
        (12, 0, '--num_examples: found 64; allowed: 128, a batch, to 64, all of'),
        (12, 100, '--num_examples: found 100; allowed: 128'),
        (8, 0, "--dataset: 'own' has images of 8x8 pixels; the two convolutions"),
        (None, 0, "--dataset: 'own' is not in"),
    ],
)
def test_data_that_cannot_be_measured_are_refused(tmp_path, side, num_examples, message):
    if side:
        images = np.zeros((64, side, side, 1), np.uint8)
        tfds_directory.write(tmp_path, 'own', images, np.arange(64) % 10)
    data = 'own', str(tmp_path)
    with pytest.raises(UserError, match=message):
        measure.Benchmark(tmp_path, [], '', sys.executable, 1, num_examples, [], *data)


@pytest.mark.parametrize('flag', ['--parts=epok', '--contenders=caffe', '--baseline=/no'])
def test_bad_flags_are_refused_in_one_line(command, flag):
    process = command('scripts/benchmark.py', flag)
    assert (process.returncode, process.stdout) == (2, '')
    assert process.stderr.startswith(f'error: flag {flag.split("=")[0]}=')
    assert process.stderr.count('\n') == 1


def test_ratios_are_the_medians_of_the_rounds():
    table = Table('Title', bars=('epoch, s',))
    for seconds in (10.0, 11.0, 30.0):
        table.add('mnist_flax', 'epoch, s', seconds)
    for seconds in (20.0, 20.0):  # it was stopped in the last round
        table.add('keras', 'epoch, s', seconds)
    table.add('mnist_flax', 'test accuracy, %', 98.765)
    lines = table.to_markdown().splitlines()
    assert '| contender | epoch, s | ratio | test accuracy, % |' in lines
    assert '| mnist_flax | 11.00 (10.00–30.00) | 1.00 | 98.77 |' in lines
    assert '| keras | 20.00 (20.00–20.00) | 0.53 | – |' in lines
    (axes,) = to_figure([table]).axes
    assert [bar.get_height() for bar in axes.patches] == [11, 20]


def test_ratios_of_speeds_are_those_of_times():
    table = Table('Title', axis='images', speeds=True)
    for row, speed in (('mnist_flax', 2000), ('keras', 500)):
        table.add(row, '7,500', speed)
        table.add(row, '15,000', 2 * speed)
    assert '| keras | 500 | 0.25 | 1,000 | 0.25 |' in table.to_markdown()
    (axes,) = to_figure([table]).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[2000, 4000], [500, 1000]]


def test_the_figure_of_costs_is_relative_to_the_least_work():
    table = Table('Cost by width', axis='width', ratios=False)
    for side, seconds in (('10', 2.0), ('20', 6.0)):
        table.add(cost.TRAINING, side, seconds)
        table.add(cost.MEMORY, side, 1.0)
    assert 'ratio' not in table.to_markdown()
    lines = [axes.lines[0] for axes in cost.to_figure([table]).axes]
    assert [list(line.get_xdata()) for line in lines] == [[1, 4], [1, 4]]
    assert [list(line.get_ydata()) for line in lines] == [[1, 3], [1, 1]]
