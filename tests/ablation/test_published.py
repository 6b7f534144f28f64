"""The committed runs of `outputs/ablations`, and the tables that the docs make of them."""

import pytest
from repository import ROOT

from configs import ablation as ablation_config
from mnist_flax.ablation import ablation, report, variants
from mnist_flax.training.settings import to_tree

# Variants that have not been trained for so many epochs, or not with all seeds.
LEFT = {4: set(), 40: {'no_rotation', 'no_scale', 'no_shear', 'no_shift', 'squared_error'}}


@pytest.mark.parametrize('num_epochs', [*LEFT])
def test_the_runs_are_of_the_config_and_the_table_is_theirs(num_epochs):
    folder = ROOT / f'outputs/ablations/{num_epochs}_epochs'
    config = ablation_config.get_config()
    config.recipe.num_epochs = num_epochs
    configs = variants.make_configs(config)
    names = [name for name in configs if name not in LEFT[num_epochs]]
    rows, trees = ablation._read(folder)
    # A change of the config needs new runs: the command is in docs/ablation.md.
    ablation._check_same(folder, {name: to_tree(configs[name]) for name in names}, trees)
    rows = [row for row in rows if row.variant in names]
    expected = {(name, seed) for name in names for seed in range(6)}
    assert {(row.variant, row.seed) for row in rows} == expected
    table = report.to_markdown(report.compare(rows, names))
    assert table in (ROOT / 'docs/ablation.md').read_text()
