"""The committed runs of `outputs/ablations`, and the tables that the docs make of them."""

import functools

import numpy as np
import pytest
import scipy.stats
from repository import ROOT

from configs import ablation as ablation_config
from mnist_flax.ablation import ablation, report, variants
from mnist_flax.ablation.report import RECIPE
from mnist_flax.training.settings import to_tree

NAMES = [*variants.make_configs(ablation_config.get_config())]
PAGE = (ROOT / 'docs/ablation.md').read_text()


@functools.cache
def read(num_epochs):
    return ablation._read(ROOT / f'outputs/ablations/{num_epochs}_epochs')


@pytest.mark.parametrize('num_epochs', [4, 40])
def test_the_runs_are_of_the_config_and_the_table_is_theirs(num_epochs):
    config = ablation_config.get_config()
    config.recipe.num_epochs = num_epochs
    configs = variants.make_configs(config)
    rows, trees = read(num_epochs)
    # A change of the config needs new runs: the command is in docs/ablation.md.
    expected = {name: to_tree(of) for name, of in configs.items()}
    ablation._check_same(ROOT / 'outputs/ablations', expected, trees)
    expected = {(name, seed) for name in NAMES for seed in range(6)}
    assert {(row.variant, row.seed) for row in rows} == expected
    assert report.to_markdown(report.compare(rows, NAMES)) in PAGE


def compare(rows, name, column):
    """The mean difference from the recipe in points, and half of its 95 % interval."""
    accuracies = {(row.variant, row.seed): getattr(row, column) for row in rows}
    pairs = [accuracies[name, i] - accuracies[RECIPE, i] for i in range(6)]
    half = scipy.stats.t.ppf(0.975, 5) * np.std(pairs, ddof=1) / 6**0.5
    return f'{100 * np.mean(pairs):+.2f} ± {100 * half:.2f}'


def test_the_page_says_of_every_variant_what_changes_with_length():
    verdicts = {
        num_epochs: {
            of.variant: report.judge(of)
            for of in report.compare(read(num_epochs)[0], NAMES)
        }
        for num_epochs in (4, 40)
    }
    for name in NAMES[1:]:
        cells = [name]
        for column in ('validation_accuracy', 'test_accuracy'):
            for num_epochs, found in verdicts.items():
                cell = compare(read(num_epochs)[0], name, column)
                is_shown = column[0] == 'v' and found[name] in ('better', 'worse')
                cells.append(f'**{cell}**' if is_shown else cell)
        assert f'| {" | ".join(cells)} |\n' in PAGE
