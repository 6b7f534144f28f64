"""metrics.txt of several runs: what a person reads."""

import json

from made_up_sweep import RATE, make_points

from mnist_flax.common import intervals, tables
from mnist_flax.reporting import metrics_text, selection

SPREAD = {
    'mean': 0.99231, 'min': 0.9921, 'max': 0.9926,
    'sd': 0.00022, 'mean_95_percent_interval': (0.99204, 0.99258),
}  # fmt: skip


def test_metrics_txt_of_several_seeds_has_a_line_a_number():
    numbers = {
        'num_runs': 6,
        'num_diverged': 1,
        'test_accuracy': SPREAD,
        'evaluators': {'steps': {**SPREAD, 'mean': 120.0, 'sd': 21.0,
                                 'mean_95_percent_interval': (93.9, 146.1)}},
        'test_loss': {'mean': 0.025, 'min': 0.025, 'max': 0.025},
        'ensemble': {'size': 5, 'test_accuracy': 0.9934},
        'interval': (0.9892, 0.9929),
    }  # fmt: skip
    assert metrics_text.to_text(numbers).splitlines() == [
        'num_runs: 6',
        'num_diverged: 1',
        'test_accuracy: 0.99231 ± 0.00022 (95 % interval 0.99204 to 0.99258, 5 runs)',
        'evaluators.steps: 120 ± 21 (95 % interval 94 to 146, 5 runs)',
        'test_loss: 0.025 (1 run)',
        'ensemble.size: 5',
        'ensemble.test_accuracy: 0.9934',
        'interval: 0.9892 to 0.9929',
    ]
    one = {'test_accuracy': 0.9912, 'seed': 0, 'versions': {'jax': '1.2.3'}}
    assert metrics_text.to_text(one) == tables.to_text(one)


def test_rounding_is_no_spread():
    same = intervals.to_dict(intervals.summarize([0.9998] * 10))
    assert same['sd'] > 0
    assert metrics_text.to_text({'num_runs': 10, 'test_accuracy': same}).splitlines()[
        1
    ] == (
        'test_accuracy: 0.999800 ± 0.000000 (95 % interval 0.999800 to 0.999800, 10 runs)'
    )


def test_metrics_txt_of_a_sweep_is_its_table_the_choice_and_its_test_score():
    numbers = {
        'points': selection.to_json(selection.rank(make_points())),
        'chosen': {'values': {RATE: 0.002}, 'num_runs': 5, 'test_accuracy': SPREAD},
        'num_epochs': 3,
    }
    lines = metrics_text.to_text(numbers).splitlines()
    assert lines[1].split() == ['0.002', '99.12', '±', '0.03', '–', 'best', '4']
    assert lines[6:9] == [
        '',
        selection.describe_choice(selection.rank(make_points())),
        '',
    ]
    assert lines[10].startswith('chosen.test_accuracy: 0.99231 ± 0.00022 (95')
    assert lines[11:] == ['num_epochs: 3']
    read = json.loads(tables.to_json(numbers))
    assert metrics_text.to_text(read).splitlines() == lines
