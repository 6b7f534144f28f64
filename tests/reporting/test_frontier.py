"""The committed reports of the networks of few parameters, and the table made of them."""

import importlib
import json

import pytest
from repository import ROOT

from mnist_flax.reporting import finished_runs
from mnist_flax.training import plan
from mnist_flax.training.settings import to_tree

FOLDERS = sorted((ROOT / 'outputs/frontier').glob('*/'))


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_a_committed_report_is_that_of_its_config(folder):
    config = importlib.import_module(f'configs.{folder.name}').get_config()
    config.runs = 6
    expected = to_tree(plan.complete(config, num_classes=10))
    # A change of the config needs new runs: the commands are in docs/accuracy.md.
    assert json.loads((folder / 'config.json').read_text()) == expected


def test_the_table_of_the_docs_is_that_of_the_reports():
    text = (ROOT / 'docs/accuracy.md').read_text()
    table = finished_runs.to_markdown([finished_runs.read(str(of)) for of in FOLDERS])
    rows = [line for line in table.splitlines() if line.startswith('| params_')]
    assert len(rows) == len(FOLDERS) >= 3
    for row in rows:
        without_digest, _ = row.rsplit('–', 1)  # the networks are not committed
        assert without_digest in text
