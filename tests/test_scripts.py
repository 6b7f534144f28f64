"""The scripts, as commands."""

import json

import pytest

from mnist_flax import reports


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
    results = []
    for seed in (3, 5):
        results.append(json.loads((tmp_path / str(seed) / 'metrics.json').read_text()))
        assert results[-1]['seed'] == seed
    assert results[0]['test_loss'] != results[1]['test_loss']
    table = (tmp_path / 'seeds.md').read_text()
    assert table == reports.seed_table(results)
    assert process.stdout.endswith(table)


@pytest.mark.parametrize(
    ('seeds', 'message'),
    [
        ((3,), '--seeds: found [3]; allowed: two or more different ones'),
        ((0, 0, 1), '--seeds: found [0, 0, 1]; allowed: two or more different ones'),
        ((0, -1), 'config.seed: found -1; allowed: 0 to 4294967295'),
        ((0, 2**32), 'config.seed: found 4294967296; allowed: 0 to 4294967295'),
    ],
)
def test_bad_seeds_are_refused_before_any_is_trained(command, tmp_path, seeds, message):
    process = command(
        'scripts/seeds.py', *(f'--seeds={seed}' for seed in seeds), f'--workdir={tmp_path}'
    )
    assert process.returncode == 1
    assert process.stderr == f'error: {message}\n'
    assert process.stdout == ''
    assert list(tmp_path.iterdir()) == []
