"""The benchmark against PyTorch and Keras: its command, with our contender, and report."""

import json

import pytest

from benchmarking import figures, report
from mnist_flax.reporting import figures

RESULTS = {
    'command': 'python scripts/benchmark.py',
    'rounds': 3,
    'num_examples': 60000,
    'num_test_examples': 10000,
    'environment': {'cpu': 'Abacus', 'cores': 2, 'versions': {'keras': {'keras': '3.0'}}},
    'epoch': {
        'mnist_flax': {
            'setup_seconds': 2.0,
            'epoch_seconds': [10.0, 11.0, 30.0],
            'evaluation_seconds': [[0.2, 0.2, 0.2], [0.1, 0.2, 0.4], [0.3, 0.3, 0.5]],
            'test_accuracy': [0.97, 0.98, 0.9876],
        },
        'keras': {
            'setup_seconds': 1.04,
            'epoch_seconds': [20.0, 20.0, 40.0],
            'evaluation_seconds': [[0.4, 0.4, 0.4], [1.0, 1.0, 1.0], [0.5, 0.5, 0.1]],
            'test_accuracy': [0.97, 0.98, 0.9855],
        },
    },
    'scaling': {
        name: [
            {'batch_size': batch_size, 'num_examples': size, 'seconds': [2 * slow, slow]}
            for batch_size, size in [(32, 15000), (128, 15000), (128, 7500), (128, 60000)]
        ]
        for name, slow in (('mnist_flax', 1.0), ('keras', 4.0))
    },
    'time_to_99': {
        'first_run_seconds': 30.0,
        'runs': {
            'mnist_flax': [
                {
                    'seed': seed,
                    'seconds': 20.0 + seed,
                    'start_up_seconds': 5.0,
                    'epochs': 3,
                    'test_accuracy': 0.99,
                }
                for seed in range(3)
            ],
            'pytorch': [
                {'seed': seed, 'seconds': 42.0, 'epochs': 4, 'test_accuracy': 0.9911}
                for seed in range(3)
            ],
            'keras': [
                {
                    'seed': seed,
                    'seconds': 99.0,
                    'epochs': 20 - seed,
                    'test_accuracy': accuracy,
                }
                for seed, accuracy in enumerate((0.9899, 0.99, 0.99))
            ],
        },
    },
    'population': {
        'num_examples': 6000,  # a hundredth of a run: 10 epochs of 60,000 images
        'runs': [
            {
                'num_runs': 4,
                'seconds': {
                    'one_after_another': [8.0, 9.0, 4.0],
                    'auto': [4.0, 4.0, 4.0],
                    'at_once': [16.0, 9.0, 8.0],
                },
            }
        ],
    },
}


@pytest.mark.slow  # it compiles the default network anew
def test_the_command_measures_and_reports(command, tmp_path):
    process = command(
        'scripts/benchmark.py',
        '--contenders=mnist_flax',
        '--rounds=2',
        '--num_examples=640',
        '--parts=epoch',
        f'--workdir={tmp_path}',
    )
    assert process.returncode == 0, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        'benchmark.json',
        'benchmark.md',
        'benchmark.png',
    }
    results = json.loads((tmp_path / 'benchmark.json').read_text())
    numbers = results['epoch']['mnist_flax']
    assert numbers['setup_seconds'] > 0
    assert len(numbers['epoch_seconds']) == 2
    assert [len(row) for row in numbers['evaluation_seconds']] == [3, 3]
    first, last = numbers['test_accuracy']
    assert 0.3 < first < last < 1
    assert last * 10000 == pytest.approx(round(last * 10000), abs=1e-6)
    assert 'jax' in results['environment']['versions']['mnist_flax']
    table = (tmp_path / 'benchmark.md').read_text()
    assert table == process.stdout == report.to_markdown(results)
    assert f'| {100 * last:.2f} |' in table
    assert 'epoch, round 2/2, mnist_flax: ' in process.stderr


@pytest.mark.slow
def test_the_command_measures_populations(command, tmp_path):
    process = command(
        'scripts/benchmark.py',
        '--contenders=mnist_flax',
        '--rounds=1',
        '--num_examples=128',
        '--parts=population',
        '--populations=2',
        f'--workdir={tmp_path}',
    )
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / 'benchmark.json').read_text())
    (measured,) = results['population']['runs']
    assert measured['num_runs'] == 2
    assert set(measured['seconds']) == {'one_after_another', 'auto', 'at_once'}
    assert all(seconds > 0 for (seconds,) in measured['seconds'].values())
    assert '| 2 | ' in process.stdout


@pytest.mark.parametrize(
    ('flag', 'message'),
    [
        (
            '--contenders=mnist_flax,caffe',
            "--contenders: found 'mnist_flax,caffe'; allowed: one or more of mnist_flax, "
            'pytorch, pytorch_compile, keras',
        ),
        (
            '--parts=epoch,epoch',
            "--parts: found 'epoch,epoch'; allowed: one or more of epoch, scaling, "
            'time_to_99, population',
        ),
        (
            '--populations=1,none',
            "--populations: found '1,none'; allowed: numbers of runs, such as 1,4,16",
        ),
        ('--rounds=0', '--rounds: found 0; allowed: 1 or more'),
        ('--num_examples=60001', '--num_examples: found 60001; allowed: 128 to 60000'),
        (
            '--peers_python=/no/python',
            "--peers_python: found '/no/python', which does not run; allowed: a Python "
            'interpreter',
        ),
    ],
)
def test_bad_flags_are_refused_in_one_line(command, tmp_path, flag, message):
    process = command('scripts/benchmark.py', flag, f'--workdir={tmp_path}')
    assert (process.returncode, process.stdout) == (1, '')
    assert process.stderr == f'error: {message}\n'
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(command, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho keras torch\n')
    python.chmod(0o755)
    process = command('scripts/benchmark.py', f'--peers_python={python}')
    assert (process.returncode, process.stdout) == (1, '')
    assert process.stderr == (
        f'error: --peers_python: {python} has no keras, torch; allowed: one with them '
        "(pip install -e '.[benchmark]'), or --contenders=mnist_flax\n"
    )


def test_ratio_is_the_median_of_the_rounds():
    assert report.median_ratio([10.0, 11.0, 30.0], [20.0, 20.0, 40.0]) == 0.55


def test_tables():
    lines = report.to_markdown(RESULTS).splitlines()
    rows = [line for line in lines if line.startswith('| ')]
    assert '| mnist_flax | 2.0 | 11.0 (10.0–30.0) | 1.00 | 0.200 | 1.00 | 98.76 |' in rows
    assert '| keras | 1.0 | 20.0 (20.0–40.0) | 0.55 | 0.500 | 0.50 | 98.55 |' in rows
    # (15,000 / 2 + 15,000 / 1) / 2, and a quarter of it
    assert '| mnist_flax | 11,250 | 11,250 |' in rows
    assert '| keras | 2,812 | 2,812 |' in rows
    assert '| keras | 6.00 | 6.00 | 6.00 |' in rows
    assert (
        '| mnist_flax | 21.0 | 20.0, 21.0, 22.0 | 1.00 | 99.00, 99.00, 99.00 | 3, 3, 3 | '
        '5.0, 5.0, 5.0 |'
    ) in rows
    assert (
        '| pytorch | 42.0 | 42.0, 42.0, 42.0 | 0.50 | 99.11, 99.11, 99.11 | 4, 4, 4 | – |'
    ) in rows
    assert (
        '| keras | – | 99.0, 99.0, 99.0 | – | 98.99, 99.00, 99.00 | 20, 19, 18 | – |'
        in rows
    )
    # 4 runs in 100 times the medians 8, 4 and 9 s; medians of 2, 2.25, 1 and 0.5, 1, 0.5.
    assert '| 4 | 18 | 36 | 2.00 | 16 | 0.50 |' in rows
    assert lines[-3:] == [
        'Abacus, 2 cores; keras, keras 3.0.',
        '',
        '`python scripts/benchmark.py`',
    ]


def test_a_column_without_us_has_no_ratio():
    part = {'keras': RESULTS['epoch']['keras']}
    text = report.to_markdown({**RESULTS, 'epoch': part})
    assert '| keras | 1.0 | 20.0 (20.0–40.0) | – | 0.500 | – | 98.55 |' in text


def test_figures_show_what_the_tables_say():
    plots = figures.to_figures(RESULTS)
    assert set(plots) == {'benchmark.png', 'benchmark_scaling.png'}
    epoch, evaluation, whole = plots['benchmark.png'].axes
    assert [bar.get_width() for bar in epoch.patches] == [11, 20]
    assert [bar.get_width() for bar in evaluation.patches] == [0.2, 0.5]
    assert [bar.get_width() for bar in whole.patches] == [21, 42]  # Keras did not make it
    speed, seconds = plots['benchmark_scaling.png'].axes
    assert list(speed.lines[0].get_xdata()) == [32, 128]
    assert list(speed.lines[0].get_ydata()) == [11250, 11250]
    assert list(seconds.lines[1].get_xdata()) == [7500, 15000, 60000]
    assert list(seconds.lines[1].get_ydata()) == [6, 6, 6]
    for plot in plots.values():
        assert figures.to_png(plot).startswith(b'\x89PNG')
