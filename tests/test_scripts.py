"""The scripts, as commands."""

import json
import statistics


def test_seeds_prints_mean_and_standard_deviation(command, tmp_path):
    process = command(
        'scripts/seeds.py',
        '--seeds=3',
        '--seeds=5',
        '--config.num_epochs=1',
        '--config.dataset.train_split=train[:500]',
        '--config.dataset.test_split=test[:300]',
        f'--workdir={tmp_path}',
    )
    assert process.returncode == 0, process.stderr
    accuracies = []
    for seed in (3, 5):
        metrics = json.loads((tmp_path / str(seed) / 'metrics.json').read_text())
        assert metrics['seed'] == seed
        accuracies.append(100 * metrics['test_accuracy'])
    table = (tmp_path / 'seeds.md').read_text()
    assert process.stdout.endswith(table)
    assert [line.split('|')[1].strip() for line in table.splitlines()] == [
        'seed', '---', '3', '5', 'mean ± sd',
    ]  # fmt: skip
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert f'{mean:.3f} ± {deviation:.3f}' in table


def test_seeds_needs_two(command, tmp_path):
    process = command('scripts/seeds.py', '--seeds=3', f'--workdir={tmp_path}')
    assert process.returncode == 1
    assert process.stderr.startswith('error: --seeds: found [3]; allowed: ')
    assert process.stderr.count('\n') == 1
