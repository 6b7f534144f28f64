"""The committed reports of `outputs/frontier`, and what the docs say of them."""

import csv
import importlib
import json
import statistics

import pytest
from repository import ROOT

from mnist_flax.reporting import comparison, finished_runs
from mnist_flax.training import plan
from mnist_flax.training.settings import to_tree

FOLDERS = sorted((ROOT / 'outputs/frontier').glob('*/'))
TEACHERS = {'teacher', 'distilled'}
SIZES = {f'params_{size}' for size in ('1k', '3k', '10k', '25k', '100k')}


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_a_committed_report_is_that_of_its_config(folder):
    config = importlib.import_module(f'configs.{folder.name}').get_config()
    found = json.loads((folder / 'config.json').read_text())
    assert found['runs'] == (2 if folder.name in TEACHERS else 6)
    config.runs = found['runs']
    # A change of the config needs new runs: the commands are in docs/accuracy.md.
    assert found == to_tree(plan.complete(config, num_classes=10))
    with (folder / 'runs.csv').open() as file:
        accuracies = [float(row['test_accuracy']) for row in csv.DictReader(file)]
    accuracy = finished_runs.read(str(folder)).accuracy
    assert len(accuracies) == accuracy.n == found['runs']
    assert accuracy.mean == pytest.approx(statistics.mean(accuracies))
    assert accuracy.sd == pytest.approx(statistics.stdev(accuracies))


def test_the_docs_say_what_the_reports_say():
    page, readme = ((ROOT / of).read_text() for of in ('docs/accuracy.md', 'README.md'))
    assert {of.name for of in FOLDERS} == {*TEACHERS, *SIZES, 'shifts'}
    runs = [finished_runs.read(str(of)) for of in FOLDERS]
    table = finished_runs.to_markdown(runs).splitlines()[2 : 2 + len(runs)]
    rows = {line.split(' | ')[0]: line for line in page.splitlines() if line[:2] == '| '}
    for row in table:
        without_digest, _ = row.rsplit('–', 1)  # the networks are not committed
        assert rows[row.split(' | ')[0]].startswith(without_digest)
    for run in runs:
        if '/params_' in run.workdir:
            accuracy = comparison.mean_and_sd(run.accuracy)
            assert f'{run.num_parameters:,}: {accuracy} %' in readme
