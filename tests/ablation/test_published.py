"""The committed runs of `outputs/ablations`, and the tables that the docs make of them."""

import pytest
from repository import ROOT

from configs import ablation as ablation_config
from mnist_flax.ablation import ablation, report, variants
from mnist_flax.training.settings import to_tree


@pytest.mark.parametrize('num_epochs', [4])
def test_the_runs_are_of_the_config_and_the_table_is_theirs(num_epochs):
    folder = ROOT / f'outputs/ablations/{num_epochs}_epochs'
    config = ablation_config.get_config()
    config.recipe.num_epochs = num_epochs
    configs = variants.make_configs(config)
    rows, trees = ablation._read(folder)
    # A change of the config needs new runs: the command is in docs/ablation.md.
    ablation._check_same(folder, {name: to_tree(of) for name, of in configs.items()}, trees)
    expected = {(name, seed) for name in configs for seed in range(6)}
    assert {(row.variant, row.seed) for row in rows} == expected
    table = report.to_markdown(report.compare(rows, [*configs]))
    assert table in (ROOT / 'docs/ablation.md').read_text()
